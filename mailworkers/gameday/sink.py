"""The sink: an SMTP server that writes down every message before it says 250.

A process of its own, `python -m mailworkers.gameday.sink LEDGER PASSWORD STALL ADDRESS`. It prints
its port, then answers each JSON line on stdin with one on stdout. Ends with its stdin.

It misbehaves on order: `{"arm": mode, "times": n}` arms a fault for its next n opportunities.
`{"silent": true}` lets it accept connections and answer nobody, as a relay that hangs.
`count`, `done`, `cut` and `calm` are the other orders.
"""

import base64
import contextlib
import hashlib
import json
import re
import socket
import sys
import threading
import time
from pathlib import Path
from typing import Any

from mailworkers.gameday.ledger import Ledger
from mailworkers.gameday.moods import ABORT, Moods

_CANARY = re.compile(rb"canary[0-9a-f]{16}")
_MESSAGE_ID = re.compile(rb"^Message-ID:\s*<([^>\r\n]+)>", re.IGNORECASE | re.MULTILINE)
# Relays are not this fast: some replies take long enough for a kill to fall before them.
_THINKS_EVERY, _THINKS_FOR = 10, 0.02


class Gone(Exception):  # noqa: N818
    """The conversation is over: the client left, or we cut it."""


class Session:
    """One client, in a thread of its own."""

    def __init__(self, client: socket.socket, moods: Moods, ledger: Ledger, about: Any) -> None:
        self._client = client
        self._moods = moods
        self._ledger = ledger
        self._password, self._stall = about
        self._unread = b""
        self._unsent = b""
        self._forget()

    def _forget(self) -> None:
        self._mail_from: str | None = None
        self._mail_at = 0.0
        self._rcpt_to: list[str] = []

    def run(self) -> None:
        """Talk until the client leaves."""
        number = self._client.fileno()
        self._moods.sessions[number] = self._client
        try:
            if self._moods.take("connect_reset"):
                self._reset()
            if self._moods.take("banner_421"):
                self._say_goodbye("421 4.3.2 not now")
            self._say("220 sink ESMTP")
            while True:
                self._obey(self._line().decode("utf-8", "replace"))
        except (Gone, OSError):
            pass
        finally:
            self._moods.sessions.pop(number, None)
            self._client.close()

    # Bytes.

    def _more(self) -> None:
        if self._unsent:
            unsent, self._unsent = self._unsent, b""
            self._send(unsent)
        data = self._client.recv(65536)
        if not data:
            raise Gone
        self._unread += data

    def _send(self, data: bytes) -> None:
        self._moods.wait_for_voice()
        self._client.sendall(data)

    def _line(self) -> bytes:
        while b"\r\n" not in self._unread:
            self._more()
        line, _, self._unread = self._unread.partition(b"\r\n")
        return line

    def _say(self, *lines: str) -> None:
        self._unsent += "".join(f"{line}\r\n" for line in lines).encode()

    def _say_goodbye(self, line: str) -> None:
        with contextlib.suppress(OSError):
            self._send(f"{line}\r\n".encode())
        raise Gone

    def _reset(self) -> None:
        self._client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, ABORT)
        raise Gone

    # Commands.

    def _obey(self, line: str) -> None:
        verb = line[:4].upper()
        match verb:
            case "EHLO":
                self._say("250-sink", "250-PIPELINING", "250-SIZE 52428800", "250-AUTH PLAIN")
                self._say("250-ENHANCEDSTATUSCODES", "250 SMTPUTF8")
            case "AUTH":
                self._login(line)
            case "MAIL":
                self._mail(line)
            case "RCPT":
                self._rcpt(line)
            case "DATA":
                self._data()
            case "RSET":
                self._forget()
                self._say("250 2.0.0 ok")
            case "QUIT":
                self._say_goodbye("221 2.0.0 bye")
            case _:
                self._say("250 2.0.0 ok")

    def _login(self, line: str) -> None:
        secret = base64.b64decode(line.split()[2]).split(b"\0")[-1].decode()
        if secret != self._password or self._moods.take("login_535"):
            self._say("535 5.7.8 authentication failed")
        else:
            self._say("235 2.7.0 welcome")

    def _mail(self, line: str) -> None:
        if self._moods.take("mail_421"):
            self._say_goodbye("421 4.3.2 going down")
        if self._moods.take("mail_stall"):
            time.sleep(self._stall)
        if self._moods.take("mail_451"):
            self._say("451 4.3.0 try again")
            return
        self._mail_from = line.partition("<")[2].partition(">")[0]
        self._mail_at = time.time()
        self._rcpt_to = []
        self._say("250 2.1.0 ok")

    def _rcpt(self, line: str) -> None:
        address = line.partition("<")[2].partition(">")[0]
        if self._mail_from is None:
            self._say("503 5.5.1 MAIL first")
        elif self._moods.take("rcpt_451") or (
            address.startswith("grey") and self._moods.is_greylisted(address)
        ):
            self._say("451 4.7.1 try again")
        elif address.startswith("refuse") or (
            address.startswith("once") and self._moods.is_refused_once(address)
        ):
            self._say("550 5.1.1 no such user")
        elif address.startswith("policy"):
            self._say("550 5.7.1 blocked by policy")
        else:
            self._rcpt_to.append(address)
            self._say("250 2.1.5 ok")

    def _data(self) -> None:
        if not self._rcpt_to:
            self._say("554 5.5.1 no valid recipients")
            return
        self._say("354 go ahead")
        raw = self._body()
        if self._moods.take("dot_451"):
            self._say("451 4.3.0 try again")
        elif self._moods.take("dot_421"):
            self._say_goodbye("421 4.3.2 going down")
        elif self._moods.take("dot_reset_refused"):
            self._reset()
        else:
            self._accept(raw)
        self._forget()

    def _body(self) -> bytes:
        is_cut = self._moods.take("body_reset")
        while not (self._unread.startswith(b".\r\n") or b"\r\n.\r\n" in self._unread):
            self._more()
            if is_cut:
                self._reset()
        if is_cut:
            self._reset()
        raw, _, self._unread = (b"\r\n" + self._unread).partition(b"\r\n.\r\n")
        return raw[2:].replace(b"\r\n..", b"\r\n.") + b"\r\n"

    def _accept(self, raw: bytes) -> None:
        """Write the message down, then say 250."""
        number = self._moods.number()
        is_cut = self._moods.take("dot_reset_accepted")
        is_late = not is_cut and self._moods.take("dot_stall_accepted")
        found = _MESSAGE_ID.search(raw)
        self._ledger.write(
            {
                "kind": "message",
                "number": number,
                "wall": time.time(),
                "mail_wall": self._mail_at,
                "mail_from": self._mail_from,
                "rcpt_to": self._rcpt_to,
                "message_id": found[1].decode() if found else "",
                "digest": hashlib.sha256(raw).hexdigest(),
                "canaries": sorted(
                    {c.decode() for c in _CANARY.findall(raw.replace(b"=\r\n", b""))}
                ),
                "is_hurt": is_cut or is_late or self._moods.is_silent,
            }
        )
        if is_cut:
            self._reset()
        if is_late:
            time.sleep(self._stall)
        elif number % _THINKS_EVERY == 0:
            time.sleep(_THINKS_FOR)
        self._send(b"250 2.0.0 ok\r\n")


def _serve(listener: socket.socket, moods: Moods, ledger: Ledger, about: Any) -> None:
    while True:
        client, _ = listener.accept()
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threading.Thread(target=Session(client, moods, ledger, about).run, daemon=True).start()


def main() -> None:
    """Serve until stdin ends."""
    ledger = Ledger(Path(sys.argv[1]))
    moods = Moods(ledger)
    listener = socket.create_server((sys.argv[4], 0))
    about = (sys.argv[2], float(sys.argv[3]))
    threading.Thread(target=_serve, args=(listener, moods, ledger, about), daemon=True).start()
    _answer(listener.getsockname()[1])
    for line in sys.stdin:
        order = json.loads(line)
        answer: object = None
        if "arm" in order:
            moods.arm(order["arm"], order["times"])
        elif "calm" in order:
            moods.calm()
        elif "silent" in order:
            moods.fall_silent(is_silent=order["silent"])
        elif "cut" in order:
            answer = moods.cut()
        elif "done" in order:
            answer = moods.done()
        elif "count" in order:
            answer = moods.count
        _answer(answer)


def _answer(answer: object) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
