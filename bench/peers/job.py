"""What all peers' programs share: what they are told, the messages, one kept SMTP session a thread.

Each program runs in its peer's own virtual environment, where mailworkers is not installed:
`<peer>.py prepare` makes tables, `work` sends, `enqueue` is the producer. BENCH_JOB is a JSON
object: `postgres` (a libpq address), `redis` (a socket), `smtp` (host:port), `directory`, `number`.

`enqueue` reads lines: `prepare RUN COUNT TEXTFILE`, answered by `ready`, then `go`, answered by the
times, in ns of the epoch, at which it began and at which all was acknowledged to it.
"""

import json
import os
import smtplib
import sys
import threading
import time
from pathlib import Path

FROM = "shop@example.org"
JOB = json.loads(os.environ["BENCH_JOB"])

_session = threading.local()


class Mail:
    """One message: its Message-ID, the recipient, subject and text."""

    def __init__(self, run, number, text):
        self.message_id = f"<{run}.{number}@example.org>"
        self.recipient = f"person{number}@example.com"
        self.subject = f"Order {number} has shipped"
        self.text = text

    def source(self):
        """Return the finished message, as bytes."""
        head = (
            f"From: {FROM}\r\nTo: {self.recipient}\r\nSubject: {self.subject}\r\n"
            f"Message-ID: {self.message_id}\r\nDate: Sun, 22 Nov 2026 10:00:00 +0000\r\n"
            'MIME-Version: 1.0\r\nContent-Type: text/plain; charset="utf-8"\r\n\r\n'
        )
        return (head + self.text.replace("\n", "\r\n")).encode()


def deliver(source, recipient):
    """Send one finished message over this thread's kept session; a broken one is made anew once."""
    for is_last in (False, True):
        try:
            client = getattr(_session, "client", None)
            if client is None:
                host, _, port = JOB["smtp"].partition(":")
                client = _session.client = smtplib.SMTP(host, int(port), timeout=30)
            client.sendmail(FROM, [recipient], source)
        except smtplib.SMTPServerDisconnected:
            _session.client = None
            if is_last:
                raise
        else:
            return


def serve_enqueuer(put):
    """Let *put* enqueue lists of mails whenever we are told to."""
    for line in sys.stdin:
        _, run, count, file = line.split()
        text = Path(file).read_text(encoding="utf-8")
        mails = [Mail(run, number, text) for number in range(int(count))]
        print("ready", flush=True)  # noqa: T201  this is the protocol
        sys.stdin.readline()
        started = time.time_ns()
        put(mails)
        print(started, time.time_ns(), flush=True)  # noqa: T201


def in_pieces(mails, size):
    """Yield *mails* in lists of *size*."""
    for first in range(0, len(mails), size):
        yield mails[first : first + size]
