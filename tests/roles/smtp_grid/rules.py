"""What must come of each cell, by the rules of the fault list (F-S01..F-S12), one row a rule.

Written down by hand, from the standards and what was promised, not from the code: nothing here
imports the service. Every case is met by exactly one row, by test.
"""

from typing import NamedTuple

from tests.roles.smtp_grid.places import Case

SAID = -1  # the code of what was said out of place: no answer, but operators want to see it


class Expected(NamedTuple):
    """What one attempt leaves behind.

    `breaker`: `well`, `noted` (it speaks against the relay; three in a row would open it) or `open`
    (at once). `copies`: how many the relay has taken over. `recipients`: how many of the envelope's
    are accepted and refused, the others being open. `is_kept`: whether the next message goes over
    the same session; None: either will do.
    """

    status: str
    attempt: str
    outcome: str
    stage: str
    code: int | None = None
    is_burnt: bool = True
    breaker: str = "well"
    copies: int = 0
    accepted: int = 0
    refused: int = 0
    is_kept: bool | None = None


class Rule(NamedTuple):
    """A row: for the places that have all words of one of `places`, and the named behaviours."""

    ids: str
    places: tuple[str, ...]
    behaviours: tuple[str, ...]
    expected: Expected

    def meets(self, case: Case) -> bool:
        """Whether this row is about *case*."""
        words = set(case.place.words.split())
        return any(words.issuperset(place.split()) for place in self.places) and (
            case.behaviour.number in self.behaviours or case.behaviour.name in self.behaviours
        )


def no_session(
    stage: str, attempt: str, code: int | None = None, breaker: str = "noted"
) -> Expected:
    """The relay's fault or ours, never the message's: ready again, and it costs no rung."""
    return Expected(
        "queued", attempt, "transient_error", stage, code, is_burnt=False, breaker=breaker
    )


def no_answer(stage: str, attempt: str, code: int | None = None) -> Expected:
    """It certainly was not sent: later again, by the ladder."""
    return Expected("deferred", attempt, "transient_error", stage, code, breaker="noted")


def put_off(stage: str, code: int, breaker: str = "well") -> Expected:
    """The relay said later."""
    return Expected(
        "deferred", "provider_deferred", "transient_error", stage, code, breaker=breaker
    )


def refused(stage: str, code: int, is_kept: bool | None = None) -> Expected:
    """The relay said never, to this message."""
    return Expected(
        "failed", "provider_rejected", "permanent_error", stage, code, refused=1, is_kept=is_kept
    )


def sent(recipients: int = 1, code: int = 250, is_kept: bool | None = None) -> Expected:
    """The relay has taken it over, and said so."""
    return Expected(
        "sent",
        "provider_accepted",
        "success",
        "end_of_data",
        code,
        copies=1,
        accepted=recipients,
        is_kept=is_kept,
    )


def unknown(status: str, attempt: str, code: int | None = None) -> Expected:
    """The dot went and no answer came (RFC 1047); the worst case: it was taken over."""
    return Expected(status, attempt, "unknown", "end_of_data", code, breaker="noted", copies=1)


def in_part(status: str, *, refused: int = 0) -> Expected:
    """Two of three recipients were accepted and have it now."""
    return sent()._replace(status=status, accepted=2, refused=refused)


LATE = ("b1", "b12")
CUT = ("b2", "b3")
NONSENSE = ("b9", "b10", "b11", "b15 mixed codes")
OUT_OF_PLACE = ("b8",)
TWO = ("b14",)
# Ugly, but the reply can be read, and is what it should be.
READABLE = ("b13", "b15 bare LF", "b15 bare CR", "b16")
ONE_BY_ONE = "one by one"
ALL = tuple(f"b{number}" for number in range(1, 17))
NO_REPLY = CUT + NONSENSE
BROKEN = NO_REPLY + OUT_OF_PLACE

RULES = (
    # Before MAIL: not the message's fault, so it is ready again and no rung is burnt.
    Rule("F-S01", ("P0", "P1"), LATE, no_session("connect", "timed_out")),
    Rule("F-S01", ("P0",), ("b2",), no_session("connect", "transport_failed")),
    Rule("F-S01", ("P1",), BROKEN, no_session("connect", "transport_failed")),
    Rule("F-S01", ("P2", "P5"), LATE, no_session("ehlo", "timed_out")),
    Rule("F-S01", ("P2", "P5"), BROKEN, no_session("ehlo", "transport_failed")),
    # The second reply is noticed before it could be taken for the answer to what comes next.
    Rule("F-S01", ("P1", "P2", "P5"), TWO, no_session("ehlo", "transport_failed")),
    Rule("F-S01", ("P3", "P4"), LATE, no_session("starttls", "timed_out", breaker="open")),
    Rule("F-S01", ("P3",), BROKEN, no_session("starttls", "transport_failed", breaker="open")),
    # what was said before the handshake must not count as said under TLS.
    Rule("F-S01", ("P3",), TWO, no_session("starttls", "transport_failed", breaker="open")),
    # Whatever is said in plaintext where the handshake should be, it is no handshake.
    Rule(
        "F-S01",
        ("P4",),
        (*BROKEN, *TWO, "b4", "b5", "b6", "b7", "b15 bare LF", "b15 bare CR", "b16"),
        no_session("starttls", "transport_failed", breaker="open"),
    ),
    Rule("F-S01", ("P4",), ("b13",), sent()),
    Rule("F-S01", ("P6",), LATE, no_session("auth", "timed_out", breaker="open")),
    Rule(
        "F-S01",
        ("P6",),
        (*CUT, *NONSENSE, *TWO, "b8 1yz"),
        no_session("auth", "transport_failed", breaker="open"),
    ),
    Rule("F-S01", ("P6 end",), ("b8 3yz",), no_session("auth", "transport_failed", breaker="open")),
    # 334 is asked for, and any 3yz is as good: only the first digit counts (RFC 5321 4.2.1).
    Rule("F-S01", ("P6 challenge",), ("b8 3yz",), sent()),
    Rule(
        "F-S01", ("P6 challenge",), ("b7",), no_session("auth", "transport_failed", breaker="open")
    ),
    # The text of a CRAM-MD5 challenge is the challenge: spoilt, it cannot be answered.
    Rule(
        "F-S01",
        ("P6 CRAM-MD5 challenge",),
        ("b15 bare CR", "b16"),
        no_session("auth", "transport_failed", breaker="open"),
    ),
    Rule("F-S01", ("P6 CRAM-MD5 challenge",), ("b13", "b15 bare LF"), sent()),
    Rule("F-S01", ("P6 PLAIN challenge", "P6 LOGIN challenge", "P6 end"), READABLE, sent()),
    Rule("F-S01", ("P1", "P2", "P3", "P5"), (*READABLE, "b7"), sent()),
    Rule("F-S01", ("P6 end",), ("b7",), sent()),
    Rule("F-S04", ("P1",), ("b4",), no_session("connect", "provider_deferred", 421)),
    Rule("F-S04", ("P2", "P5"), ("b4",), no_session("ehlo", "provider_deferred", 421)),
    Rule("F-S04", ("P3",), ("b4",), no_session("starttls", "provider_deferred", 421, "open")),
    Rule("F-S04", ("P6",), ("b4",), no_session("auth", "provider_deferred", 421, "open")),
    Rule("F-S05", ("P1",), ("b5",), no_session("connect", "provider_deferred", 451)),
    Rule("F-S05", ("P1",), ("b6",), no_session("connect", "provider_rejected", 554)),
    Rule("F-S05", ("P2", "P5"), ("b5",), no_session("ehlo", "provider_deferred", 451)),
    Rule("F-S05", ("P2", "P5"), ("b6",), no_session("ehlo", "provider_rejected", 554)),
    Rule("F-S06", ("P3",), ("b5",), no_session("starttls", "provider_deferred", 454, "open")),
    Rule("F-S06", ("P3",), ("b6",), no_session("starttls", "provider_rejected", 554, "open")),
    Rule("F-S07", ("P6",), ("b5",), no_session("auth", "provider_deferred", 454, "open")),
    Rule("F-S07", ("P6",), ("b6",), no_session("auth", "provider_rejected", 535, "open")),
    # From MAIL to the dot: certainly not sent, later again.
    Rule("F-S01", ("P7",), LATE, no_answer("mail", "timed_out")),
    Rule("F-S01", ("P7",), NO_REPLY, no_answer("mail", "transport_failed")),
    Rule("F-S01", ("P7",), OUT_OF_PLACE, no_answer("mail", "transport_failed", SAID)),
    Rule("F-S01", ("P8",), LATE, no_answer("rcpt", "timed_out")),
    Rule("F-S01", ("P8",), NO_REPLY, no_answer("rcpt", "transport_failed")),
    Rule("F-S01", ("P8",), OUT_OF_PLACE, no_answer("rcpt", "transport_failed", SAID)),
    Rule("F-S01", ("P9", "P10"), LATE, no_answer("data", "timed_out")),
    Rule("F-S01", ("P9", "P10"), NO_REPLY, no_answer("data", "transport_failed")),
    Rule("F-S01", ("P9",), ("b7", "b8 1yz"), no_answer("data", "transport_failed", SAID)),
    Rule("F-S01", ("P10",), ("b7", "b8"), no_answer("data", "transport_failed", SAID)),
    # One reply too many: replies are counted to commands, so DATA gets a 2yz and nothing is sent.
    Rule("F-S14", ("P7 pipelined",), TWO, no_answer("data", "transport_failed", 250)),
    Rule("F-S14", ("P8 pipelined",), TWO, no_answer("data", "transport_failed", 250)),
    Rule("F-S14", ("P9",), TWO, no_answer("data", "transport_failed", 250)),
    # Without pipelining it is there before the next command, which is not said then.
    Rule("F-S14", (f"P7 {ONE_BY_ONE}",), TWO, no_answer("rcpt", "transport_failed")),
    Rule(
        "F-S14",
        (f"P8 first {ONE_BY_ONE}", f"P8 middle {ONE_BY_ONE}"),
        TWO,
        no_answer("rcpt", "transport_failed"),
    ),
    Rule("F-S14", (f"P8 last {ONE_BY_ONE}",), TWO, no_answer("data", "transport_failed")),
    Rule("F-S01", ("P7", "P9"), READABLE, sent()),
    Rule("F-S01", ("P7",), ("b7",), sent()),
    Rule("F-S01", ("P9",), ("b8 3yz",), sent(is_kept=True)),
    Rule("F-S01", ("P8",), (*READABLE, "b7"), sent(recipients=3, is_kept=True)),
    Rule("F-S04", ("P7",), ("b4",), put_off("mail", 421, "noted")),
    Rule("F-S04", ("P8",), ("b4",), put_off("rcpt", 421, "noted")),
    Rule("F-S04", ("P9", "P10"), ("b4",), put_off("data", 421, "noted")),
    Rule("MAIL", ("P7",), ("b5",), put_off("mail", 451)),
    # Our own identity is refused: that would meet every message alike.
    Rule("MAIL", ("P7",), ("b6",), no_session("mail", "provider_rejected", 550)),
    Rule("F-S08", ("P8",), ("b5",), in_part("deferred")),
    Rule("F-S08", ("P8",), ("b6",), in_part("sent", refused=1)),
    Rule("F-S09", ("P9", "P10"), ("b5",), put_off("data", 451)),
    Rule("F-S09", ("P9",), ("b6",), refused("data", 554)),
    Rule("F-S09", ("P10",), ("b6", *READABLE), refused("data", 552, is_kept=False)),
    # The first reply is the relay's answer; the second is never read.
    Rule("F-S09", ("P10",), TWO, refused("data", 552, is_kept=False)),
    # The dot.
    Rule("F-S02", ("P11 retry",), LATE, unknown("deferred", "timed_out")),
    Rule("F-S02", ("P11 park",), LATE, unknown("uncertain", "timed_out")),
    Rule("F-S02", ("P11 retry",), NO_REPLY, unknown("deferred", "transport_failed")),
    Rule("F-S02", ("P11 park",), NO_REPLY, unknown("uncertain", "transport_failed")),
    Rule("F-S02", ("P11 retry",), OUT_OF_PLACE, unknown("deferred", "transport_failed", SAID)),
    Rule("F-S02", ("P11 park",), OUT_OF_PLACE, unknown("uncertain", "transport_failed", SAID)),
    Rule("F-S03", ("P11",), ("b7",), sent(code=299, is_kept=True)),
    Rule("F-S03", ("P11",), READABLE, sent(is_kept=True)),
    Rule("F-S03", ("P11",), TWO, sent(is_kept=False)),
    Rule("F-S03", ("P11",), ("b5",), put_off("end_of_data", 451)),
    Rule("F-S03", ("P11",), ("b6",), refused("end_of_data", 554)),
    Rule("F-S04", ("P11",), ("b4",), put_off("end_of_data", 421, "noted")),
    # Afterwards: nothing changes what is known.
    Rule("F-S12", ("P12 RSET",), (*READABLE, "b7"), refused("rcpt", 550, is_kept=True)),
    Rule(
        "F-S12",
        ("P12 RSET",),
        (*LATE, *BROKEN, *TWO, "b4", "b5", "b6"),
        refused("rcpt", 550, is_kept=False),
    ),
    # Nothing said is what a relay should do between two messages.
    Rule("F-S12", ("P12 between",), ("b1",), sent(is_kept=True)),
    Rule(
        "F-S12 F-S13",
        ("P12 between",),
        tuple(number for number in ALL if number != "b1"),
        sent(is_kept=False),
    ),
    Rule("F-S12", ("P13",), ALL, sent(is_kept=False)),
)


def expected(case: Case) -> Expected:
    """Return what must come of *case*."""
    (rule,) = [rule for rule in RULES if rule.meets(case)]
    return rule.expected
