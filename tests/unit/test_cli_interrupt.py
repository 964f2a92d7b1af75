"""A ctrl-C is heard wherever it comes."""

import subprocess
import sys

PROGRAM = """
import os, signal, time, weakref
from sluiceway.cli.main import end_orderly_when_terminated

class Thing:
    pass

end_orderly_when_terminated()
thing = Thing()
callback = weakref.ref(thing, lambda gone: [os.kill(os.getpid(), signal.SIGINT), time.sleep(0.01)])
try:
    del thing
    time.sleep(20)
    print("not heard")
except KeyboardInterrupt:
    print("heard")
"""


def test_a_ctrl_c_in_the_middle_of_a_finaliser_is_heard_after_it():
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout.strip(), "Traceback" in done.stderr) == ("heard", False), done.stderr
