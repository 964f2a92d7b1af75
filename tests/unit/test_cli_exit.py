"""The command ends with its own exit code, after what was registered for the end and after its threads."""

from __future__ import annotations

import subprocess
import sys
import textwrap

CODE = """
import atexit, sys, threading, time
from sluiceway.cli import main

def late():
    time.sleep(0.3)
    print("thread")

main.run_command = lambda arguments: (threading.Thread(target=late).start(), print("work"), 3)[-1]
atexit.register(lambda: print("registered"))
sys.argv = ["sluiceway"]
main.main()
"""


def test_exit_code_threads_and_what_was_registered() -> None:
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(CODE)], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout.split()) == (3, ["work", "thread", "registered"]), done.stderr


def test_the_module_is_the_command_too() -> None:
    called = [sys.executable, "-m", "sluiceway.cli.main", "--help"]
    done = subprocess.run(called, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0
    assert "Exit codes: 0 pass" in done.stdout


def test_an_idle_pool_of_threads_does_not_hold_the_end() -> None:
    """Its threads wait for work until they are told that there is none: libraries keep such pools for good."""
    code = """
    import sys
    from concurrent.futures import ThreadPoolExecutor
    from sluiceway.cli import main

    pool = ThreadPoolExecutor(1)
    pool.submit(int).result()
    main.run_command = lambda arguments: 3
    sys.argv = ["sluiceway"]
    main.main()
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=20)
    assert done.returncode == 3, done.stderr


def test_nobody_who_listens_is_no_error() -> None:
    code = "import sys; from sluiceway.cli import main; sys.argv = ['sluiceway', '--help']; main.main()"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.close()
    _, said = process.communicate(timeout=60)
    assert b"Traceback" not in said
