"""Redis did it and the answer is lost, late, or never comes (F-R10, M-01, M-02)."""

import time
from datetime import timedelta
from typing import Any

import pytest

from mailworkers.adapters import db
from mailworkers.adapters.producer import put_command
from mailworkers.adapters.stream import GROUP, SENDER_WAKE, Stream, Waker
from mailworkers.core.errors import StoreUnavailable
from mailworkers.embedded.servers import Servers
from mailworkers.roles.consumer import Consumer
from tests.crash.commands import STREAM, command_fields, put_commands
from tests.crash.stores.conftest import MakeSettings
from tests.crash.stores.proxy import Proxy, loses_the_answer_to, says_nothing_after
from tests.crash.stores.turning import running
from tests.eventually import eventually

# What a consumer asks while it takes in new entries, and those of a dead consumer.
ASKED = (b"XREADGROUP", b"XACK", b"XAUTOCLAIM", b"XPENDING", b"XCLAIM", b"XINFO", b"XTRIM")


def _deliveries(conn: db.Connection) -> int:
    row = conn.execute("SELECT count(*) FROM deliveries").fetchone()
    return int(row[0]) if row else 0


def _left(client: Any) -> int:
    """Return how many entries are not acknowledged."""
    group = client.xinfo_groups(STREAM)[0]
    return int(group["pending"]) + int(group["lag"])


@pytest.mark.slow
@pytest.mark.parametrize("word", ASKED, ids=[word.decode() for word in ASKED])
def test_an_answer_that_is_lost_costs_no_entry(
    servers: Servers,
    conn: db.Connection,
    redis_client: Any,
    redis_proxy: Proxy,
    make_settings: MakeSettings,
    word: bytes,
) -> None:
    """What was handed out and never arrived is found in our own name, what was done is known."""
    put_commands(servers, 3)
    redis_client.xgroup_create(STREAM, GROUP, id="0")
    redis_client.xreadgroup(GROUP, "dead", {STREAM: ">"}, count=2)
    for pending in redis_client.xpending_range(STREAM, GROUP, "-", "+", 2):
        entry_ids = [pending["message_id"]]
        redis_client.xclaim(STREAM, GROUP, "dead", 0, entry_ids, idle=60_000, retrycount=1)
    redis_proxy.rule = rule = loses_the_answer_to(word)

    with running(Consumer, make_settings(MAIL_REDIS_MASTER_ADDR=redis_proxy.addr)) as turn:
        put_commands(servers, 2)
        eventually(lambda: turn() or _left(redis_client) == 0, within=30)

    assert rule.losses == 1
    assert _deliveries(conn) == 5


@pytest.mark.slow
def test_a_line_that_falls_silent_is_given_up(
    servers: Servers,
    conn: db.Connection,
    redis_client: Any,
    redis_proxy: Proxy,
    make_settings: MakeSettings,
) -> None:
    """Half open: the answer never comes and nobody says so; 5 s after the block it is noticed."""
    put_commands(servers, 3)
    redis_proxy.rule = says_nothing_after(b"XREADGROUP")
    with running(Consumer, make_settings(MAIL_REDIS_MASTER_ADDR=redis_proxy.addr)) as turn:
        eventually(lambda: turn() or _left(redis_client) == 0, within=30)

    assert _deliveries(conn) == 3


@pytest.mark.slow
def test_a_blocking_read_ends_when_it_should(
    redis_client: Any, make_settings: MakeSettings
) -> None:
    """M-01: with the library's own timeouts a read of 8 s raised after 59."""
    stream = Stream(make_settings(), "consumer", timedelta(seconds=6))
    stream.ensure_group()
    began = time.monotonic()

    assert stream.read(1) == []

    assert 5.9 < time.monotonic() - began < 10
    stream.close()


def test_a_command_whose_answer_is_lost_is_not_put_twice(
    redis_client: Any, redis_proxy: Proxy, make_settings: MakeSettings
) -> None:
    """M-02: the library repeats an XADD by itself; ours says that nobody knows."""
    redis_proxy.rule = loses_the_answer_to(b"XADD")
    settings = make_settings(MAIL_REDIS_MASTER_ADDR=redis_proxy.addr)
    (fields,) = command_fields(1)

    with pytest.raises(StoreUnavailable):
        put_command(settings, fields)

    assert redis_client.xlen(STREAM) == 1


def test_an_answer_that_comes_too_late_is_not_taken_for_the_next_one(
    redis_client: Any, redis_proxy: Proxy, make_settings: MakeSettings
) -> None:
    """Whoever gave up waiting must not read it afterwards as the answer to something else."""
    waker = Waker(make_settings(MAIL_REDIS_MASTER_ADDR=redis_proxy.addr))
    assert waker.wait(SENDER_WAKE, timedelta(milliseconds=10)) is True  # nothing came: a poll
    redis_client.lpush(SENDER_WAKE, "1")
    redis_proxy.silence()
    assert waker.wait(SENDER_WAKE, timedelta(milliseconds=10)) is False
    redis_proxy.resume()
    eventually(lambda: redis_client.llen(SENDER_WAKE) == 0)
    waker._away_until = 0.0
    redis_client.lpush(SENDER_WAKE, "1")

    assert waker.wait(SENDER_WAKE, timedelta(milliseconds=10)) is True
    assert redis_client.llen(SENDER_WAKE) == 0
    waker.close()
