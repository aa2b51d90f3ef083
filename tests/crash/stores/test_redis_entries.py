"""Entries that vanish, that are many, that are enormous; consumers that are gone.

F-R09, F-R11, F-R12.
"""

import os
import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from mailworkers.adapters import db
from mailworkers.adapters.entry_reader import AT_A_TIME, MOST_BYTES, EntryReader, size_of
from mailworkers.adapters.stream import GROUP, Stream
from mailworkers.embedded.servers import Servers
from mailworkers.roles.consumer import Consumer
from tests.crash.commands import STREAM, command_fields, put_commands
from tests.crash.processes import Process, Roles
from tests.crash.stores.conftest import MakeSettings
from tests.crash.stores.turning import running
from tests.eventually import eventually

MEGABYTE = 2**20


def _count(conn: db.Connection, table: str) -> int:
    row = conn.execute(f"SELECT count(*) FROM {table}".encode()).fetchone()  # noqa: S608
    return int(row[0]) if row else 0


def _hand_out(client: Any, consumer: str, *, idle: int) -> list[bytes]:
    """Hand all new entries out to *consumer*, which then falls silent; return their ids."""
    client.xgroup_create(STREAM, GROUP, id="0")
    client.xreadgroup(GROUP, consumer, {STREAM: ">"})
    ids = [row["message_id"] for row in client.xpending_range(STREAM, GROUP, "-", "+", 100)]
    for entry_id in ids:
        client.xclaim(STREAM, GROUP, consumer, 0, [entry_id], idle=idle, retrycount=1)
    return ids


@pytest.mark.parametrize("held_by", ["somebody else", "ourselves"])
def test_an_entry_that_was_trimmed_while_pending_is_an_alarm(
    servers: Servers,
    conn: db.Connection,
    redis_client: Any,
    make_settings: MakeSettings,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    held_by: str,
) -> None:
    """Somebody trims by length: what that loses is counted and named, the rest arrives (F-R09)."""
    monkeypatch.setenv("SUPERVISOR_PROCESS_NAME", "consumer-01")
    stream = Stream(make_settings(), "x", timedelta(0))
    ours = f"{os.uname().nodename}:consumer-01"
    put_commands(servers, 3)
    holder = ours if held_by == "ourselves" else "dead"
    ids = _hand_out(redis_client, holder, idle=60_000 if holder == "dead" else 0)
    redis_client.xdel(STREAM, ids[1])

    with running(Consumer, make_settings()) as turn:
        eventually(
            lambda: turn() or redis_client.xpending(STREAM, GROUP)["pending"] == 0, within=20
        )

    said = capfd.readouterr().out
    (vanished,) = re.findall(r'"stream entry vanished".*"stream_entry_id":"([0-9-]+)"', said)
    assert vanished == ids[1].decode()
    assert _count(conn, "deliveries") == 2
    stream.close()


def test_a_batch_fits_into_the_memory_meant_for_it(
    redis_client: Any, make_settings: MakeSettings
) -> None:
    """Hundreds of small ones, then all at once large ones: 16 MiB and a few of them (F-R11)."""
    for _ in range(700):
        redis_client.xadd(STREAM, {"f": "x"})
    for _ in range(60):
        redis_client.xadd(STREAM, {"f": b"x" * MEGABYTE})
    stream = Stream(make_settings(), "consumer", timedelta(milliseconds=10))
    stream.ensure_group()
    reader = EntryReader(stream)
    counts, sizes = [], []
    while batch := reader.read():
        counts.append(len(batch))
        sizes.append(sum(size_of(entry.fields) for entry in batch))
    stream.close()

    assert sum(counts) == 760
    assert counts[:3] == [1, 8, 64]
    assert max(sizes) <= MOST_BYTES + AT_A_TIME * MEGABYTE
    assert sizes[-2] <= MOST_BYTES


@pytest.mark.slow
def test_many_entries_and_an_enormous_one_are_taken_in_bounded_memory(
    servers: Servers, conn: db.Connection, roles: Roles, redis_client: Any
) -> None:
    """20,000 waiting, one of 64 MiB among them: set aside undecoded, cut; the rest arrives."""
    with redis_client.pipeline(transaction=False) as pipe:
        for fields in command_fields(10_000):
            pipe.xadd(STREAM, fields)
        pipe.xadd(STREAM, {**command_fields(1)[0], "payload_json": b"[" * 64 * MEGABYTE})
        for fields in command_fields(10_000):
            pipe.xadd(STREAM, fields)
        pipe.execute()

    consumer = roles.start("consumer")
    eventually(lambda: _count(conn, "deliveries") == 20_000, within=100)

    row = conn.execute(
        "SELECT failure_code, raw_size, length(raw), is_complete FROM malformed_commands"
    ).fetchone()
    assert row is not None
    assert row[0] == "payload_too_large"
    assert row[1] > 64 * MEGABYTE
    assert row[2:] == (2 * MEGABYTE, False)
    # A client needs the entry and its copies; nothing grows with what waits.
    assert _peak_memory(consumer) < 450 * MEGABYTE


def _peak_memory(process: Process) -> int:
    """Return the most memory a process has had, in bytes."""
    status = Path(f"/proc/{process.pid}/status").read_text(encoding="ascii")
    (kilobytes,) = re.findall(r"VmHWM:\s+(\d+) kB", status)
    return int(kilobytes) * 1024


def test_a_dead_consumer_is_forgotten_only_when_it_holds_nothing(
    servers: Servers, redis_client: Any, make_settings: MakeSettings
) -> None:
    """Its pending entries would go with it; a thousand names do not hold up a step (F-R12)."""
    put_commands(servers, 1)
    stream = Stream(make_settings(), "we", timedelta(milliseconds=10))
    stream.ensure_group()
    redis_client.xreadgroup(GROUP, "holds", {STREAM: ">"})
    with redis_client.pipeline(transaction=False) as pipe:
        for number in range(1000):
            pipe.xgroup_createconsumer(STREAM, GROUP, f"dead-{number}")
        pipe.execute()

    stream.forget_dead_consumers()
    fresh = _consumers(redis_client)
    stream.forget_dead_consumers(after=timedelta(0))
    half = _consumers(redis_client)
    stream.forget_dead_consumers(after=timedelta(0))

    assert len(fresh) == 1001
    assert len(half) == 501
    assert _consumers(redis_client) == {b"holds"}
    assert redis_client.xpending(STREAM, GROUP)["pending"] == 1
    stream.close()


def _consumers(client: Any) -> set[bytes]:
    return {row["name"] for row in client.xinfo_consumers(STREAM, GROUP)}
