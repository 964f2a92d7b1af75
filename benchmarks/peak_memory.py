"""How much memory processes hold at most, watched from beside them."""

from __future__ import annotations

import contextlib
import os
import re
import threading
from dataclasses import dataclass, field
from pathlib import Path

import psutil

SECONDS = 0.2
SHARED = Path("/dev/shm")
KILOBYTES = re.compile(r"^(VmRSS|RssAnon):\s*(\d+) kB", re.MULTILINE)


@dataclass
class PeakMemory:
    """Watches a process and all below it, until the context ends.

    Attributes:
        pid: of the process; this one's where left out.
        own: bytes of anonymous memory at the peak, by name of the process: what is nobody else's and no file's.
        resident: bytes in memory at the peak, pages of files and of Ray's object store included, by command line.
        together: bytes at the peak of all processes: anonymous memory, and what shared memory (Ray's object store)
            has grown by since the beginning.
    """

    pid: int = field(default_factory=os.getpid)
    own: dict[str, int] = field(default_factory=dict)
    resident: dict[str, int] = field(default_factory=dict)
    together: int = 0

    def __enter__(self) -> PeakMemory:
        self._ended = threading.Event()
        self._shared = _shared_memory()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(SECONDS):
            with contextlib.suppress(psutil.Error):
                root = psutil.Process(self.pid)
                self._look([root, *root.children(recursive=True)])

    def _look(self, processes: list[psutil.Process]) -> None:
        together = max(_shared_memory() - self._shared, 0)
        for process in processes:
            # A process may end between two questions.
            with contextlib.suppress(psutil.Error, OSError, KeyError):
                found = dict(KILOBYTES.findall(Path(f"/proc/{process.pid}/status").read_text()))
                name = "driver" if process.pid == self.pid else process.name()
                command = " ".join(process.cmdline())
                own, resident = int(found["RssAnon"]) * 1024, int(found["VmRSS"]) * 1024
                self.own[name] = max(self.own.get(name, 0), own)
                self.resident[command] = max(self.resident.get(command, 0), resident)
                together += own
        self.together = max(self.together, together)

    def listed(self) -> str:
        """The peaks of the processes' own memory, for people."""
        return ", ".join(f"{name} {peak / 1e9:.2f} GB" for name, peak in sorted(self.own.items()))


def _shared_memory() -> int:
    found = os.statvfs(SHARED)
    return (found.f_blocks - found.f_bfree) * found.f_frsize
