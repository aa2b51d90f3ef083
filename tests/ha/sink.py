"""The relay of these tests: the game days' sink, which also writes down who brought a message.

`python -m tests.ha.sink LEDGER ADDRESS PORT` until its stdin ends.
"""

import socket
import sys
import threading
from pathlib import Path
from typing import Any

from mailworkers.gameday.ledger import Ledger, Line
from mailworkers.gameday.moods import Moods
from mailworkers.gameday.sink import Session

_STALL = 1.0  # seconds; nothing here orders a stall


class Signed:
    """The ledger as one session sees it: each line says where the session comes from."""

    def __init__(self, ledger: Ledger, peer: str) -> None:
        self._ledger = ledger
        self._peer = peer

    def write(self, line: Line) -> int:
        """Append *line*."""
        return self._ledger.write({**line, "peer": self._peer})


def _serve(listener: socket.socket, moods: Moods, ledger: Ledger) -> None:
    while True:
        client, (peer, _) = listener.accept()
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        signed: Any = Signed(ledger, peer)
        session = Session(client, moods, signed, ("nobody logs in here", _STALL))
        threading.Thread(target=session.run, daemon=True).start()


def main() -> None:
    """Serve until stdin ends."""
    path, address, port = sys.argv[1:]
    ledger = Ledger(Path(path))
    listener = socket.create_server((address, int(port)), backlog=64)
    threading.Thread(target=_serve, args=(listener, Moods(ledger), ledger), daemon=True).start()
    print("ready", flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
