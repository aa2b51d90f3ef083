"""A network between a host and what it talks to, which may fall silent and come back.

Silent as a cut cable is: nothing is refused or closed, nothing arrives, until it is healed. What
was sent meanwhile comes late, as by retransmission.
"""

import contextlib
import select
import socket
import threading
from pathlib import Path
from typing import Self

Address = tuple[str, int] | Path


class Network:
    """Forwards connections to any number of servers, each at an address of its own."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._flows = threading.Event()
        self._flows.set()
        self._is_over = threading.Event()
        self._threads: list[threading.Thread] = []
        self._listeners: list[socket.socket] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._flows.set()
        for listener in self._listeners:
            listener.close()
        for thread in self._threads:
            thread.join(20)

    def cut(self) -> None:
        """Let nothing through from now on."""
        self._flows.clear()

    def heal(self) -> None:
        """Let everything through again."""
        self._flows.set()

    def to(self, server: Address) -> Address:
        """Return the address by which *server* is reached over this network."""
        if isinstance(server, Path):
            near = self._directory / server.name
            listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            listener.bind(str(near))
            listener.listen(64)
            found: Address = near
        else:
            listener = socket.create_server(("127.0.0.1", 0))
            found = ("127.0.0.1", listener.getsockname()[1])
        self._listeners.append(listener)
        self._spawn(self._accept, listener, server)
        return found

    def _accept(self, listener: socket.socket, server: Address) -> None:
        listener.settimeout(0.1)
        while not self._is_over.is_set():
            with contextlib.suppress(TimeoutError, OSError):
                near, _ = listener.accept()
                self._spawn(self._join, near, server)

    def _join(self, near: socket.socket, server: Address) -> None:
        """Carry bytes both ways until one side ends the connection."""
        self._flows.wait()
        family = socket.AF_UNIX if isinstance(server, Path) else socket.AF_INET
        far = socket.socket(family, socket.SOCK_STREAM)
        with near, far, contextlib.suppress(OSError):
            far.connect(str(server) if isinstance(server, Path) else server)
            others = {near: far, far: near}
            while not self._is_over.is_set():
                for source in select.select(list(others), [], [], 0.1)[0]:
                    data = source.recv(65536)
                    self._flows.wait()
                    if not data:
                        return
                    others[source].sendall(data)

    def _spawn(self, target: object, *arguments: object) -> None:
        thread = threading.Thread(target=target, args=arguments, daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()
