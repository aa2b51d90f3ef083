"""A producer's way to Redis that follows the Sentinels: one socket here, behind it the master.

The load of the game days knows one socket and no password. A connection that is made here is led to
the master of that moment, logged in; when that master dies it ends, as the producer's own would.
"""

import contextlib
import select
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Self

_PIECE = 65536


class Door:
    """Listens at *path* and leads to the socket that *find_master* names, with *password*."""

    def __init__(self, path: Path, password: str, find_master: Callable[[], Path | None]) -> None:
        self.path = path
        self._login = f"AUTH {password}\r\n".encode()
        self._find_master = find_master
        self._is_over = threading.Event()
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(path))
        self._listener.listen(64)
        self._threads = [threading.Thread(target=self._accept, daemon=True)]

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._listener.close()
        for thread in self._threads:
            thread.join(10)

    def _accept(self) -> None:
        self._listener.settimeout(0.2)
        while not self._is_over.is_set():
            with contextlib.suppress(OSError):
                near, _ = self._listener.accept()
                thread = threading.Thread(target=self._lead, args=(near,), daemon=True)
                self._threads.append(thread)
                thread.start()

    def _lead(self, near: socket.socket) -> None:
        with near, contextlib.suppress(OSError):
            master = self._find_master()
            if master is None:
                return
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as far:
                far.connect(str(master))
                far.sendall(self._login)
                if far.recv(64) == b"+OK\r\n":
                    self._carry(near, far)

    def _carry(self, near: socket.socket, far: socket.socket) -> None:
        others = {near: far, far: near}
        while not self._is_over.is_set():
            for source in select.select(list(others), [], [], 0.2)[0]:
                data = source.recv(_PIECE)
                if not data:
                    return
                others[source].sendall(data)
