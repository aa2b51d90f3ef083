"""docs/classification.md says what the code does: every rule, code, phrase and sample of it."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import msgspec
import pytest

from mailworkers.core import reply_markers as markers
from mailworkers.core.replies import RecipientVerdict, Result, Verdict, judge, judge_unavailable
from mailworkers.core.reply_reader import ReplyReader
from mailworkers.core.retry import ladder
from mailworkers.core.settlement import Case, decide
from mailworkers.core.states import PayloadMode, Stage, Status
from mailworkers.core.wire import Broken, Reply, Transaction

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "classification.md").read_text("utf-8")
NOW = datetime(2026, 1, 1, tzinfo=UTC)
BEFORE_MAIL = {Stage.CONNECT, Stage.EHLO, Stage.STARTTLS, Stage.AUTH}
LATE = (Stage.RCPT, Stage.DATA, Stage.END_OF_DATA)


def _rows(section: str) -> list[list[str]]:
    """Return the cells of the tables in *section* of the page."""
    lines = [line for line in section.splitlines() if line.startswith("| ")]
    cells = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]
    return [row for row in cells if row[0] not in ("stage", "---", "at", "means")]


def _section(heading: str) -> str:
    return PAGE.split(f"\n{heading}\n", 1)[1].split("\n##", 1)[0]


def _reply(text: str) -> Reply:
    reader = ReplyReader()
    reader.feed(text.encode() + b"\r\n")
    read = reader.next()
    assert read is not None
    return read


OK = _reply("250 2.1.5 Ok")


def _judged(
    stage: Stage, reply: Reply | None, broken: Broken | None, *, own: bool, others: int = 0
) -> Verdict:
    """Return what it means that a transaction ended so, with *others* accepted besides."""
    at_rcpt = stage is Stage.RCPT and broken is None
    at_mail = stage is Stage.MAIL
    goes_on = at_rcpt and others and reply is not None and reply.code != 421
    mine = reply if at_rcpt else None if at_mail or stage is Stage.RCPT else OK
    transaction = Transaction(
        stage=Stage.END_OF_DATA if goes_on else stage,
        mail_reply=reply if at_mail else OK,
        rcpt_replies=(*(OK,) * others, mine),
        reply=_reply("250 2.0.0 queued") if goes_on else reply,
        broken=broken,
        dot_sent=bool(goes_on) or stage is Stage.END_OF_DATA,
    )
    return judge(transaction, own_identity=own)


def _delivery(verdict: Verdict, *, is_parked: bool = False) -> str:
    """Return in the page's words what becomes of a delivery."""
    recipients = verdict.recipients or (RecipientVerdict(Result.DEFERRED, verdict.reply),)
    settlement = decide(
        Case(UUID(int=1), UUID(int=2), PayloadMode.RENDERED, 1, None, range(len(recipients)), []),
        msgspec.structs.replace(verdict, recipients=recipients),
        now=NOW,
        policy=ladder("ladder", (timedelta(seconds=5),)),
        chance=0.5,
        is_parked=is_parked,
        relay="relay.test:25",
        summary=verdict.in_words,
    )
    return "ready again" if settlement.status is Status.QUEUED else settlement.status


# The rules

_BROKEN = {
    "no answer in time": Broken.TIMEOUT,
    "connection lost": Broken.CLOSED,
    "no SMTP": Broken.PROTOCOL,
    "our own no before the dot: lease too short": Broken.ABORTED,
}


def _verdict_of(stage: Stage, comes: str) -> Verdict:
    """Return the verdict on what the second column of a rule describes."""
    sample = re.search("`([1-5][0-9][0-9][^`]*)`", comes)
    reply = _reply(sample[1]) if sample else None
    if stage in BEFORE_MAIL:
        return judge_unavailable(stage, reply, timed_out=comes == "no answer in time")
    own = not comes.startswith("another identity")
    others = int("another was accepted" in comes)
    return _judged(stage, reply, _BROKEN.get(comes), own=own, others=others)


@pytest.mark.parametrize("row", _rows(_section("## The rules")), ids=lambda row: " ".join(row[:2]))
def test_a_rule_is_what_the_code_does(row: list[str]) -> None:
    """Stage and answer on the left, everything that follows from them on the right."""
    stage = Stage(row[0])
    verdict = _verdict_of(stage, row[1])
    delivery = _delivery(verdict)
    if (parked := _delivery(verdict, is_parked=True)) != delivery:
        delivery = f"{delivery}, under `park` {parked}"

    assert row[2:] == [
        verdict.attempt_status,
        verdict.outcome,
        verdict.fault,
        delivery,
        "burnt" if verdict.burns_ladder else "kept",
        "trips" if verdict.trips_breaker else "-",
    ]


def test_the_rules_have_every_stage() -> None:
    assert {row[0] for row in _rows(_section("## The rules"))} == set(Stage)


# Codes and phrases


def _listed(section: str, label: str) -> list[str]:
    """Return what stands in backticks after *label* in a list of the page."""
    entry = section.split(f"- {label}:", 1)[1].split("\n- ", 1)[0]
    return re.findall("`([^`]+)`", entry)


@pytest.mark.parametrize(
    ("heading", "label", "codes"),
    [
        ("### Our account", "reply codes", {str(code) for code in markers.ACCOUNT_CODES}),
        ("### Our account", "enhanced codes", markers.ACCOUNT_ENHANCED),
        ("### The sender identity", "enhanced codes", markers.SENDER_ENHANCED),
    ],
)
def test_the_codes_are_those_of_the_code(heading: str, label: str, codes: set[str]) -> None:
    assert set(_listed(_section(heading), label)) == codes


def test_the_policy_details_are_those_of_the_code() -> None:
    listed: set[int] = set()
    for entry in _listed(_section("### Policy and reputation"), "details of 5.7.x"):
        first, _, last = entry.partition("-")
        listed.update(range(int(first), int(last or first) + 1))

    assert listed == markers.POLICY_DETAILS


PHRASES = {
    ("### Our account", "phrases"): markers.ACCOUNT_PHRASES,
    ("### The sender identity", "phrases"): markers.SENDER_PHRASES,
    ("### Policy and reputation", "phrases under any 5.7.x"): markers.POLICY_PHRASES_WITH_CODE,
    (
        "### Policy and reputation",
        "phrases without any enhanced code",
    ): markers.POLICY_PHRASES_ALONE,
    (
        "### Policy and reputation",
        "never: what complains about the form of the message",
    ): markers.FORM_PHRASES,
}


@pytest.mark.parametrize("where", PHRASES, ids=" ".join)
def test_each_phrase_is_known_and_each_known_one_is_listed(where: tuple[str, str]) -> None:
    """In both directions: nothing is promised that is not looked for, nothing is kept secret."""
    heading, label = where
    listed = _listed(_section(heading), label)

    def meets(pattern: str, phrase: str) -> bool:
        return bool(re.search(pattern, phrase, re.IGNORECASE))

    patterns = PHRASES[where]
    assert [phrase for phrase in listed if not any(meets(p, phrase) for p in patterns)] == []
    assert [p for p in patterns if not any(meets(p, phrase) for phrase in listed)] == []


# Samples


def _samples() -> Iterator[tuple[str, str, str, str]]:
    """Yield provider, stage, reply and meaning of each sample."""
    for section in PAGE.split("\n## Samples\n", 1)[1].split("\n### ")[1:]:
        provider = section.splitlines()[0]
        for at, says, means in _rows(section):
            yield provider, at, says.strip("`"), means


SAMPLES = list(_samples())
_STAGES = {"dot": Stage.END_OF_DATA}


@pytest.mark.parametrize(("provider", "at", "says", "means"), SAMPLES)
def test_a_sample_means_what_the_page_says(provider: str, at: str, says: str, means: str) -> None:
    """At RCPT, DATA and the dot the same, but for a transaction that is full."""
    stage = _STAGES.get(at) or Stage(at)
    stages = LATE if stage in LATE and means != "full" else (stage,)

    for each in stages:
        assert means in _meanings(each, _reply(says))


def _meanings(stage: Stage, reply: Reply) -> set[str]:
    """Return the words of the page that describe what *reply* does at *stage*."""
    if stage in BEFORE_MAIL:
        verdict = judge_unavailable(stage, reply, timed_out=False)
        is_as_promised = _delivery(verdict) == "ready again" and verdict.trips_breaker
        return {"no session"} if is_as_promised else set()
    own, other = (_judged(stage, reply, None, own=mine) for mine in (True, False))
    shared = _judged(stage, reply, None, own=True, others=1)
    mends = "ready again" if stage is Stage.MAIL else "deferred"
    is_ours = (_delivery(own), own.trips_breaker) == (mends, stage is Stage.MAIL)
    is_5yz = reply.code // 100 == 5
    found = {
        "later": not is_5yz and (_delivery(own), own.trips_breaker) == ("deferred", False),
        "over": (_delivery(own), own.trips_breaker) == ("deferred", True),
        "full": _delivery(shared) == "ready again" and not shared.burns_ladder,
        "refused": _delivery(own) == _delivery(other) == "failed",
        "policy": _delivery(own) == "suppressed",
        # At MAIL an identity is refused, or our account is: for our own identity it is the same.
        "account": is_5yz and is_ours and (stage is Stage.MAIL or _delivery(other) == mends),
        "sender": is_5yz and is_ours and _delivery(other) == "failed",
    }
    return {meaning for meaning, is_so in found.items() if is_so}


def test_there_are_samples_of_the_large_providers_and_of_each_meaning() -> None:
    providers = " ".join(provider for provider, *_ in SAMPLES)
    names = (
        "Gmail Microsoft Outlook Yahoo iCloud SES SendGrid Mailgun Postmark Brevo GMX Postfix Exim"
    )

    assert [name for name in [*names.split(), "Postfix", "Exim"] if name not in providers] == []
    words = {row[0] for row in _rows(_section("## Samples"))}
    assert {means for *_, means in SAMPLES} == words
