"""How a hook of the configuration is asked: a shell command, or a webhook; both raise where it does not say yes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

SAID = 300  # of what a hook answers, for messages


@dataclass(frozen=True)
class Command:
    """A line for the shell: the event is JSON on its standard input, exit code 0 says yes.

    Attributes:
        command: the line.
        seconds: that it may take, with all processes that it starts.
    """

    command: str
    seconds: float

    def __call__(self, event: Mapping[str, Any]) -> None:
        """Ask it.

        Raises:
            RuntimeError: it says no, or takes too long.
        """
        process = subprocess.Popen(
            self.command,
            shell=True,  # it is the user's own line, from the user's own configuration
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        try:
            out, err = process.communicate(json.dumps(event), timeout=self.seconds)
        except subprocess.TimeoutExpired as error:
            # The shell alone would leave what it has started, and what that writes into.
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            raise RuntimeError(f"not done after {self.seconds:g} s") from error
        if process.returncode:
            said = (err.strip() or out.strip()).splitlines()
            raise RuntimeError(f"exit code {process.returncode}" + (f": {said[-1][:SAID]}" if said else ""))


@dataclass(frozen=True)
class Webhook:
    """An address: the event is posted as JSON, a status of 2xx says yes.

    Attributes:
        url: of http or https.
        seconds: that it may take.
    """

    url: str
    seconds: float

    def __call__(self, event: Mapping[str, Any]) -> None:
        """Ask it.

        Raises:
            RuntimeError: it says no.
            httpx.HTTPError: it cannot be asked.
        """
        import httpx  # noqa: PLC0415 (half a second that words without a webhook have no use for)

        answer = httpx.post(self.url, json=dict(event), timeout=self.seconds)
        if not answer.is_success:
            raise RuntimeError(f"status {answer.status_code}: {answer.text[:SAID]}")
