"""Which loopback ports `mailworkers up` uses: the usual ones where free, and the same next time."""

import socket
from pathlib import Path
from typing import Annotated

import msgspec

Port = Annotated[int, msgspec.Meta(ge=1024, le=65535)]


class Ports(msgspec.Struct, frozen=True):
    """One loopback port for each thing that listens; the defaults are preferred."""

    api: Port = 8080
    health: Port = 8086
    metrics: Port = 9094
    mailbox: Port = 8025
    smtp: Port = 1025


def choose_ports(memory: Path) -> Ports:
    """Return free ports: those in the file *memory*, else the usual ones, else any; remember them.

    A port remembered but taken by somebody else meanwhile is replaced.
    """
    preferred = _recall(memory)
    chosen: dict[str, int] = {}
    for name in Ports.__struct_fields__:
        port = getattr(preferred, name)
        while port in chosen.values() or not _is_free(port):
            port = free_port()
        chosen[name] = port
    ports = msgspec.convert(chosen, Ports)
    memory.write_bytes(msgspec.json.format(msgspec.json.encode(ports)) + b"\n")
    return ports


def free_port() -> int:
    """Return a loopback port that nobody listens on at this moment."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _recall(memory: Path) -> Ports:
    try:
        return msgspec.json.decode(memory.read_bytes(), type=Ports)
    except (OSError, msgspec.DecodeError):
        return Ports()


def _is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except (OSError, OverflowError):
            return False
        return True
