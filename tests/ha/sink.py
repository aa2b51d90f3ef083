"""The relay of these tests: the game days' sink, which also writes down who brought a message.

`python -m tests.ha.sink LEDGER ADDRESS PORT` until its stdin ends. Each line there is a number: how
many seconds it takes from now on between writing a message down and saying 250. That is when a
fault hurts: the mail is there, and who brought it does not know.
"""

import socket
import sys
import threading
import time
from pathlib import Path
from typing import Any

from mailworkers.gameday.ledger import Ledger, Line
from mailworkers.gameday.moods import Moods
from mailworkers.gameday.sink import Session

_STALL = 1.0  # seconds; nothing here orders a stall


class Pace:
    """How many seconds the relay takes to answer."""

    seconds = 0.0


class Signed:
    """The ledger as one session sees it: each line says where the session comes from."""

    def __init__(self, ledger: Ledger, peer: str, pace: Pace) -> None:
        self._ledger = ledger
        self._peer = peer
        self._pace = pace

    def write(self, line: Line) -> int:
        """Append *line*, and take the time that was ordered."""
        number = self._ledger.write({**line, "peer": self._peer})
        time.sleep(self._pace.seconds)
        return number


def _serve(listener: socket.socket, moods: Moods, ledger: Ledger, pace: Pace) -> None:
    while True:
        client, (peer, _) = listener.accept()
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        signed: Any = Signed(ledger, peer, pace)
        session = Session(client, moods, signed, ("nobody logs in here", _STALL))
        threading.Thread(target=session.run, daemon=True).start()


def main() -> None:
    """Serve until stdin ends."""
    pace = Pace()
    path, address, port = sys.argv[1:]
    ledger = Ledger(Path(path))
    listener = socket.create_server((address, int(port)), backlog=64)
    threading.Thread(
        target=_serve, args=(listener, Moods(ledger), ledger, pace), daemon=True
    ).start()
    print("ready", flush=True)
    for line in sys.stdin:
        pace.seconds = float(line)


if __name__ == "__main__":
    main()
