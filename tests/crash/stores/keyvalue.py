"""Further Valkey or Redis servers of a test's own, on loopback ports."""

import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import redis

from mailworkers.embedded.account import servers_account
from mailworkers.embedded.ports import free_port
from mailworkers.embedded.servers import Server, Servers


class KeyValue:
    """One server with data of its own; *options* are those of its command line."""

    def __init__(self, servers: Servers, directory: Path, *options: str) -> None:
        account = servers_account()
        account.make_directory(directory)
        self.port = free_port()
        program = str(servers.binaries.keyvalue.path)
        command = [program, *options, "--port", str(self.port), "--bind", "127.0.0.1"]
        command += ["--dir", str(directory), "--daemonize", "no"]
        self.server = Server(
            command,
            account,
            log=directory.parent / f"{directory.name}.log",
            is_ready=self._answers,
            ending=signal.SIGTERM,
        )

    @property
    def addr(self) -> str:
        """Return `host:port`."""
        return f"127.0.0.1:{self.port}"

    def client(self) -> Any:
        """Return a client of it."""
        return redis.Redis(port=self.port)

    def _answers(self) -> bool:
        """Whether it answers anything at all, be it that it is loading."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=5) as probe:
                probe.sendall(b"PING\r\n")
                return bool(probe.recv(64))
        except OSError:
            return False


@contextmanager
def keyvalue(servers: Servers, directory: Path, *options: str) -> Iterator[KeyValue]:
    """Start a server; stop it at the end."""
    with ExitStack() as stack:
        made = KeyValue(servers, directory, *options)
        made.server.start()
        # In good order it would wait for its replicas first.
        stack.callback(made.server.kill)
        yield made
