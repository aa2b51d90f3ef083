"""A nameserver on loopback, by UDP and TCP, that knows the TXT records it was given."""

import contextlib
import socketserver
import struct
import threading
from collections.abc import Iterator
from typing import Any

import dns.flags
import dns.message
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rrset
import pytest

_CLASSIC_BYTES = 512  # RFC 1035 section 4.2.1: without EDNS no answer by UDP is longer


class Nameserver:
    """Answers for `records`, full name without the last dot -> the texts there.

    A text is published in strings of 255 bytes. `rcode` answers everything with an error;
    `is_silent` answers nothing. `asked` are the names in order, with the protocol.
    """

    def __init__(self) -> None:
        self.records: dict[str, list[str]] = {}
        self.rcode = dns.rcode.NOERROR
        self.is_silent = False
        self.asked: list[tuple[str, str]] = []
        self.port = 0

    @property
    def addr(self) -> str:
        """Where it listens, as `--nameserver` takes it."""
        return f"127.0.0.1:{self.port}"

    def answer(self, wire: bytes, protocol: str) -> bytes | None:
        """Return the answer to the question *wire*; cut when too long for UDP (RFC 2181)."""
        query = dns.message.from_wire(wire)
        question = query.question[0]
        name = question.name.to_text(omit_final_dot=True).lower()
        self.asked.append((protocol, name))
        if self.is_silent:
            return None
        response = dns.message.make_response(query, our_payload=1232)
        response.flags |= dns.flags.RA
        response.set_rcode(self.rcode)
        texts = self.records.get(name, [])
        if self.rcode == dns.rcode.NOERROR and not texts:
            response.set_rcode(dns.rcode.NXDOMAIN)
        if texts and question.rdtype == dns.rdatatype.TXT:
            rows = [" ".join(map(_quoted, _strings(text))) for text in texts]
            response.answer.append(dns.rrset.from_text(question.name, 60, "IN", "TXT", *rows))
        whole = response.to_wire(max_size=65535)
        room = max(query.payload, _CLASSIC_BYTES)
        if protocol == "udp" and len(whole) > room:
            response.answer.clear()
            response.flags |= dns.flags.TC
            return response.to_wire()
        return whole


def _strings(text: str) -> list[str]:
    return [text[i : i + 255] for i in range(0, len(text), 255)]


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


class _Udp(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        wire, sock = self.request
        if (answer := _owner(self).answer(wire, "udp")) is not None:
            sock.sendto(answer, self.client_address)


class _Tcp(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        (length,) = struct.unpack("!H", self.rfile.read(2))
        if (answer := _owner(self).answer(self.rfile.read(length), "tcp")) is not None:
            self.wfile.write(struct.pack("!H", len(answer)) + answer)


def _owner(handler: socketserver.BaseRequestHandler) -> Nameserver:
    owner: Any = handler.server
    found: Nameserver = owner.nameserver
    return found


@pytest.fixture
def nameserver() -> Iterator[Nameserver]:
    """Return a nameserver that knows nothing yet, UDP and TCP on one port of loopback."""
    made = Nameserver()
    with contextlib.ExitStack() as stack:
        tcp = stack.enter_context(socketserver.TCPServer(("127.0.0.1", 0), _Tcp))
        made.port = tcp.server_address[1]
        udp = stack.enter_context(socketserver.UDPServer(("127.0.0.1", made.port), _Udp))
        for server in (tcp, udp):
            server.nameserver = made  # type: ignore[attr-defined]
            thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
            thread.start()
            stack.callback(thread.join)
            stack.callback(server.shutdown)
        yield made
