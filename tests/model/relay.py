"""The wire: what a relay may say before the dot and after it, and how it is judged.

Replies are made here and judged by the product (`core.replies.judge`).
"""

from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import msgspec

from mailworkers.core.adoption import verdict_of_poison
from mailworkers.core.replies import RecipientVerdict, Result, Verdict, judge, judge_unavailable
from mailworkers.core.states import Stage
from mailworkers.core.wire import Broken, Reply, Transaction

OK = Reply(250, "2.0.0", "ok")
BUSY = Reply(451, "4.3.0", "try later")
FULL = Reply(452, "4.5.3", "too many recipients")
NOBODY = Reply(550, "5.1.1", "no such user")
POLICY = Reply(550, "5.7.1", "listed as a source of spam")
ACCOUNT = Reply(530, "5.7.0", "authentication required")
TOO_BIG = Reply(552, "5.3.4", "too big")
REFUSED = Reply(554, "5.6.0", "not this message")
GOODBYE = Reply(421, "4.3.2", "closing")

# What may be answered to one RCPT; the first is what a pick of nothing in particular gives.
RCPT = (OK, OK, OK, OK, NOBODY, BUSY, FULL, POLICY)


class AfterDot(NamedTuple):
    """What a relay does with a whole message: takes it or not, and answers or never does."""

    reply: Reply | None
    broken: Broken | None
    takes: bool


AFTER_DOT = (
    AfterDot(OK, None, takes=True),
    AfterDot(OK, None, takes=True),
    AfterDot(OK, None, takes=True),
    AfterDot(None, Broken.TIMEOUT, takes=True),
    AfterDot(None, Broken.CLOSED, takes=True),
    AfterDot(None, Broken.PROTOCOL, takes=True),
    AfterDot(BUSY, None, takes=False),
    AfterDot(REFUSED, None, takes=False),
    AfterDot(POLICY, None, takes=False),
    AfterDot(GOODBYE, None, takes=False),
    AfterDot(None, Broken.TIMEOUT, takes=False),
    AfterDot(None, Broken.CLOSED, takes=False),
)


def _before_dot(
    stage: Stage,
    reply: Reply | None,
    broken: Broken | None = None,
    rcpt: tuple[Reply, ...] = (),
) -> Callable[[int], Verdict]:
    """Return what judges a transaction that ended at *stage*; *rcpt* are the replies to RCPT,
    as many as there are recipients."""

    def verdict(recipients: int) -> Verdict:
        replies = tuple(rcpt[n % len(rcpt)] if rcpt else None for n in range(recipients))
        transaction = Transaction(
            stage=stage,
            mail_reply=reply if stage is Stage.MAIL else OK,
            rcpt_replies=replies,
            reply=reply,
            broken=broken,
            dot_sent=False,
        )
        return judge(transaction, own_identity=True)

    return verdict


def _no_session(stage: Stage, reply: Reply | None, *, timed_out: bool) -> Callable[[int], Verdict]:
    def verdict(recipients: int) -> Verdict:
        found = judge_unavailable(stage, reply, timed_out)
        nobody = (RecipientVerdict(Result.DEFERRED, reply),) * recipients
        return msgspec.structs.replace(found, recipients=nobody)

    return verdict


_ENDINGS: tuple[Callable[[int], Verdict], ...] = (
    _no_session(Stage.CONNECT, None, timed_out=True),
    _no_session(Stage.EHLO, GOODBYE, timed_out=False),
    _no_session(Stage.AUTH, ACCOUNT, timed_out=False),
    _before_dot(Stage.MAIL, BUSY),
    _before_dot(Stage.MAIL, ACCOUNT),
    _before_dot(Stage.MAIL, TOO_BIG),
    _before_dot(Stage.MAIL, None),
    _before_dot(Stage.MAIL, None, Broken.CLOSED),
    _before_dot(Stage.RCPT, NOBODY, rcpt=(NOBODY,)),
    _before_dot(Stage.RCPT, BUSY, rcpt=(BUSY,)),
    _before_dot(Stage.RCPT, BUSY, rcpt=(NOBODY, BUSY)),
    _before_dot(Stage.RCPT, FULL, rcpt=(FULL,)),
    _before_dot(Stage.RCPT, GOODBYE, rcpt=(OK, GOODBYE)),
    _before_dot(Stage.DATA, BUSY, rcpt=(OK, NOBODY)),
    _before_dot(Stage.DATA, REFUSED, rcpt=(OK,)),
    _before_dot(Stage.DATA, POLICY, rcpt=(OK, BUSY)),
    _before_dot(Stage.DATA, None, Broken.TIMEOUT, rcpt=(OK, NOBODY)),
    _before_dot(Stage.DATA, None, Broken.PROTOCOL, rcpt=(OK,)),
    verdict_of_poison,
)
ENDINGS = len(_ENDINGS)


@cache
def verdict_before_dot(ending: int, recipients: int) -> Verdict:
    """Return the verdict about one of `ENDINGS` ways to end without a dot."""
    return _ENDINGS[ending](recipients)


@cache
def verdict_after_dot(
    rcpt: tuple[Reply, ...], reply: Reply | None, broken: Broken | None
) -> Verdict:
    """Return the verdict about a transaction whose dot went out."""
    transaction = Transaction(
        stage=Stage.END_OF_DATA,
        mail_reply=OK,
        rcpt_replies=rcpt,
        reply=reply,
        broken=broken,
        dot_sent=True,
    )
    return judge(transaction, own_identity=True)


@cache
def verdict_of_abort(rcpt: tuple[Reply, ...]) -> Verdict:
    """Return the verdict about a transaction that its sender gave up just before the dot."""
    transaction = Transaction(
        stage=Stage.DATA,
        mail_reply=OK,
        rcpt_replies=rcpt,
        reply=None,
        broken=Broken.ABORTED,
        dot_sent=False,
    )
    return judge(transaction, own_identity=True)
