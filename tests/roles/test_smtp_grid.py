"""Every stage against every way to misbehave: one outcome each, in time, true about the dot.

The rows are the stages of a session, the columns what the relay does there (reliability reference
8.4). The expectation is computed from both, so no cell can be left out by accident.
"""

import time
from datetime import timedelta
from typing import Any

import pytest

from mailworkers.core.errors import RelayUnavailable
from mailworkers.core.replies import Result, judge
from mailworkers.core.states import Stage
from mailworkers.core.wire import Broken, Reply, Transaction
from tests.relay import Relay, Step, close, drip, endless, hang, raw, reset
from tests.sessions import ONE_BY_ONE, PIPELINED, opened, send

SET_UP = {"BANNER": Stage.CONNECT, "EHLO": Stage.EHLO, "AUTH": Stage.AUTH}
TRANSACTION = {"MAIL": Stage.MAIL, "RCPT": Stage.RCPT, "DATA": Stage.DATA, "DOT": Stage.END_OF_DATA}
LIMIT = timedelta(seconds=0.3)
GOOD = {"BANNER": "220", "AUTH": "235", "DATA": "354"}


def a_byte_at_a_time(good: str) -> Step:
    """Send each byte on its own, all of them in time."""
    return drip(f"{good} 2.0.0 fine", every=0.001)


BEHAVIOURS: dict[str, Any] = {
    "b1 hang": lambda _: hang,
    "b2 reset": lambda _: reset,
    "b3 close": lambda _: close,
    "b4 421": lambda _: "421 4.3.2 bye",
    "b5 4yz": lambda _: "451 4.3.0 later",
    "b6 5yz": lambda _: "550 5.0.0 no",
    "b7 other 2yz": lambda _: "299 odd",
    "b8 1yz": lambda _: "150 odd",
    "b8 3yz": lambda good: "399 odd" if good != "354" else "199 odd",
    "b9 garbage": lambda _: raw(b"\x80\xff\x00!\r\n"),
    "b10 long line": lambda good: raw(f"{good} ".encode() + b"x" * 3000 + b"\r\n"),
    "b11 endless": lambda good: endless(f"{good}-more\r\n".encode()),
    "b12 drip": lambda good: drip(f"{good} never in time at all", every=0.05),
    "b13 split": a_byte_at_a_time,
    "b14 two at once": lambda good: raw(f"{good} one\r\n250 two\r\n".encode()),
    "b15 bare LF": lambda good: raw(f"{good} fine\n".encode()),
    "b15 bare CR": lambda good: raw(f"{good} fi\rne\r\n".encode()),
    "b15 mixed codes": lambda good: raw(f"{good}-fine\r\n550 no\r\n".encode()),
    "b16 control bytes": lambda good: raw(f"{good} \x00\x1b[2J\x85ü\r\n".encode()),
}
GOES_ON = {"b13 split", "b15 bare LF", "b15 bare CR", "b16 control bytes"}
TIMES_OUT = {"b1 hang", "b12 drip"}
CLOSES = {"b2 reset", "b3 close"}
REPLIES = {"b4 421": 421, "b5 4yz": 451, "b6 5yz": 550}


@pytest.mark.parametrize("behaviour", BEHAVIOURS)
@pytest.mark.parametrize("stage", SET_UP)
def test_set_up(relay: Relay, stage: str, behaviour: str) -> None:
    """Before MAIL: a session, or RelayUnavailable that names the stage; in time."""
    login = {"username": "alice", "password": "secret"} if stage == "AUTH" else {}
    relay.says(EHLO="250 AUTH PLAIN")
    relay.says(**{stage: BEHAVIOURS[behaviour](GOOD.get(stage, "250"))})
    began = time.monotonic()
    if behaviour in GOES_ON or behaviour == "b7 other 2yz":
        opened(relay, timeout=LIMIT, **login).close()
        return
    with pytest.raises(RelayUnavailable) as caught:
        opened(relay, timeout=LIMIT, **login)
    fault = caught.value

    assert time.monotonic() - began < LIMIT.total_seconds() + 0.7
    assert fault.timed_out == (behaviour in TIMES_OUT)
    if behaviour == "b14 two at once":
        # A banner's second reply is noticed before EHLO is said.
        assert fault.stage is (Stage.EHLO if stage == "BANNER" else SET_UP[stage])
        return
    assert fault.stage is SET_UP[stage]
    assert (fault.reply.code if fault.reply else None) == REPLIES.get(behaviour)


@pytest.mark.parametrize("behaviour", BEHAVIOURS)
@pytest.mark.parametrize("stage", TRANSACTION)
@pytest.mark.parametrize("pipelining", [True, False], ids=["pipelined", "one by one"])
def test_transaction(relay: Relay, pipelining: bool, stage: str, behaviour: str) -> None:
    """From MAIL on: one outcome, in time, unknown only after the dot; the next is its own."""
    relay.offers(*(PIPELINED if pipelining else ONE_BY_ONE))
    relay.says(**{stage: [BEHAVIOURS[behaviour](GOOD.get(stage, "250"))]})
    session = opened(relay, timeout=LIMIT, dot_timeout=LIMIT)
    began = time.monotonic()

    transaction = send(session)

    assert time.monotonic() - began < LIMIT.total_seconds() + 0.7
    expect(transaction, TRANSACTION[stage], behaviour)
    verdict = judge(transaction, own_identity=False).recipients[0].result
    assert (verdict is Result.UNKNOWN) == (stage == "DOT" and transaction.broken is not None)
    if verdict is Result.ACCEPTED:
        assert len(relay.accepted) == 1
    copies = len(relay.accepted)

    # Whatever happened, the next message is judged by its own replies and arrives once.
    following = send(session)

    assert following.broken is None
    assert following.reply == Reply(250, "2.0.0", "Ok: queued")
    assert len(relay.accepted) == copies + 1
    session.close()


def expect(transaction: Transaction, stage: Stage, behaviour: str) -> None:
    """Compare with what the cell of *stage* and *behaviour* must give."""
    is_dot = stage is Stage.END_OF_DATA
    if behaviour in GOES_ON or (behaviour == "b7 other 2yz" and stage is not Stage.DATA):
        assert transaction.broken is None
        assert transaction.stage is Stage.END_OF_DATA
        assert transaction.reply is not None
        assert transaction.reply.text.isprintable()
        return
    if behaviour == "b14 two at once":
        # The second is noticed wherever it would be taken for the answer to something else.
        assert transaction.broken is (None if is_dot else Broken.PROTOCOL)
        assert transaction.dot_sent == is_dot
        return
    assert transaction.stage is stage
    if behaviour in REPLIES:
        assert transaction.broken is None
        assert transaction.reply is not None
        assert transaction.reply.code == REPLIES[behaviour]
    elif behaviour in TIMES_OUT:
        assert transaction.broken is Broken.TIMEOUT
    elif behaviour in CLOSES:
        assert transaction.broken is Broken.CLOSED
    else:
        assert transaction.broken is Broken.PROTOCOL
    assert transaction.dot_sent == is_dot
