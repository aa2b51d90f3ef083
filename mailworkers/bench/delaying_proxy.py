"""A relay that is far away: everything between its clients and it takes half a round trip longer.

A process of its own, `python -m mailworkers.bench.delaying_proxy HOST:PORT SECONDS`, which prints
its port. SECONDS is the whole round trip. It delays and never narrows: what is written in one go
arrives in one go. It ends when its standard input does.
"""

import asyncio
import contextlib
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_CHUNK = 64 * 1024


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay: float) -> None:
    """Pass on what *reader* gives, each piece *delay* seconds after it came."""
    loop = asyncio.get_running_loop()
    late: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

    async def write() -> None:
        while True:
            due, data = await late.get()
            await asyncio.sleep(due - loop.time())
            if not data:
                break
            writer.write(data)
            await writer.drain()
        writer.close()

    writing = asyncio.create_task(write())
    with contextlib.suppress(OSError):
        while data := await reader.read(_CHUNK):
            late.put_nowait((loop.time() + delay, data))
    late.put_nowait((loop.time() + delay, b""))
    with contextlib.suppress(OSError):
        await writing


async def _serve(host: str, port: int, delay: float) -> None:
    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection(host, port)
        await asyncio.gather(_pass(reader, far_writer, delay), _pass(far_reader, writer, delay))

    server = await asyncio.start_server(carry, "127.0.0.1", 0)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await asyncio.to_thread(sys.stdin.read)


@contextmanager
def delayed(address: str, round_trip: float) -> Iterator[str]:
    """Run a proxy before *address* for the time of the context, which gets the proxy's address."""
    with subprocess.Popen(
        [sys.executable, "-m", "mailworkers.bench.delaying_proxy", address, str(round_trip)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        line = process.stdout.readline() if process.stdout else ""
        yield f"127.0.0.1:{line.strip()}"


def main() -> None:
    """Serve until standard input ends."""
    host, _, port = sys.argv[1].rpartition(":")
    asyncio.run(_serve(host, int(port), float(sys.argv[2]) / 2))


if __name__ == "__main__":
    main()
