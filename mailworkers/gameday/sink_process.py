"""The sink's process, and the orders it takes."""

import json
import select
import subprocess
import sys
import threading
from pathlib import Path
from typing import IO, Any

from mailworkers.core.errors import MailworkersError

_PATIENCE = 20.0  # seconds


class SinkFailed(MailworkersError):  # noqa: N818  it names the condition
    """The sink did not start, or does not answer."""


class SinkProcess:
    """A running sink at a port of *address*.

    It writes to *ledger*, wants *password* and stalls for *stall* seconds.
    """

    def __init__(
        self, ledger: Path, password: str, stall: float, address: str = "127.0.0.1"
    ) -> None:
        self._lock = threading.Lock()
        command = [sys.executable, "-m", "mailworkers.gameday.sink"]
        self._process = subprocess.Popen(
            [*command, ledger, password, str(stall), address],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # Ctrl-C is for us; it ends with its stdin
        )
        self.port = int(self._read())

    @property
    def pid(self) -> int:
        """Return its process id."""
        return self._process.pid

    def _read(self) -> str:
        answers = _pipe(self._process.stdout)
        if not select.select([answers], [], [], _PATIENCE)[0]:
            raise SinkFailed("the sink does not answer")
        return answers.readline()

    def order(self, **order: Any) -> Any:
        """Give an order and return the answer."""
        orders = _pipe(self._process.stdin)
        with self._lock:
            orders.write(json.dumps(order) + "\n")
            orders.flush()
            return json.loads(self._read())

    def stop(self) -> None:
        """End it."""
        _pipe(self._process.stdin).close()
        self._process.wait(_PATIENCE)
        _pipe(self._process.stdout).close()


def _pipe(pipe: IO[str] | None) -> IO[str]:
    if pipe is None:
        raise SinkFailed("the sink was started without pipes")
    return pipe
