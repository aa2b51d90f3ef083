"""A mailbox for demonstrations and tests: an SMTP server on loopback that keeps what it gets.

It runs as one supervisord program of `mailworkers up`; its page shows the messages. What it answers
can be switched there (accept, defer, reject, slow), to watch deliveries being retried.
"""

import argparse
import asyncio
import signal
import threading
from pathlib import Path

from aiosmtpd.smtp import SMTP

from mailworkers.embedded.mailbox_smtp import Mailbox
from mailworkers.embedded.mailbox_store import MailboxStore
from mailworkers.embedded.mailbox_web import serve

_LARGEST = 64 * 1024 * 1024


async def run(mailbox: Mailbox, smtp_port: int, http_port: int) -> None:
    """Serve SMTP and the page on loopback until SIGTERM or SIGINT."""
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    smtp = await loop.create_server(
        lambda: SMTP(
            mailbox,
            data_size_limit=_LARGEST,
            enable_SMTPUTF8=True,
            hostname="mailbox.localhost",
            ident="mailbox",
            loop=loop,
        ),
        "127.0.0.1",
        smtp_port,
    )
    web = serve(mailbox, http_port)
    threading.Thread(target=web.serve_forever, name="web", daemon=True).start()
    try:
        await stopped.wait()
    finally:
        smtp.close()
        web.shutdown()
        web.server_close()


def main() -> None:
    """Run the mailbox as a program."""
    parser = argparse.ArgumentParser(prog="mailbox", description=__doc__)
    parser.add_argument("--store", type=Path, required=True, help="directory of the messages")
    parser.add_argument("--smtp-port", type=int, default=1025)
    parser.add_argument("--http-port", type=int, default=8025)
    options = parser.parse_args()
    store = MailboxStore(options.store)
    try:
        asyncio.run(run(Mailbox(store), options.smtp_port, options.http_port))
    finally:
        store.close()


if __name__ == "__main__":
    main()
