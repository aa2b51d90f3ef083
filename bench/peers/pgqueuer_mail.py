"""pgqueuer: batches of 500, four threads a process with a kept smtplib session each, uvloop."""

import asyncio
import sys
from concurrent.futures import ThreadPoolExecutor

import asyncpg
import uvloop
from job import JOB, deliver, in_pieces, serve_enqueuer
from pgqueuer.db import AsyncpgDriver
from pgqueuer.qm import QueueManager
from pgqueuer.queries import Queries

BATCH = 500
THREADS = 4


async def queries():
    return Queries(AsyncpgDriver(await asyncpg.connect(JOB["postgres"])))


async def prepare():
    await (await queries()).install()


async def work():
    manager = QueueManager(await queries())
    pool = ThreadPoolExecutor(THREADS)
    loop = asyncio.get_running_loop()

    @manager.entrypoint("mail")
    async def send(job):
        recipient, _, source = job.payload.partition(b"\n")
        await loop.run_in_executor(pool, deliver, source, recipient.decode())

    await manager.run(batch_size=BATCH)


def enqueue():
    loop = uvloop.new_event_loop()
    producer = loop.run_until_complete(queries())

    async def put(mails):
        for piece in in_pieces(mails, BATCH):
            payloads = [mail.recipient.encode() + b"\n" + mail.source() for mail in piece]
            await producer.enqueue(["mail"] * len(piece), payloads, [0] * len(piece))

    serve_enqueuer(lambda mails: loop.run_until_complete(put(mails)))


if __name__ == "__main__":
    match sys.argv[1]:
        case "prepare":
            asyncio.run(prepare())
        case "work":
            uvloop.run(work())
        case "enqueue":
            enqueue()
