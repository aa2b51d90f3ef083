"""Checks of the run as a whole: stream, transactions, processes, secrets, counters, limits."""

import base64
import math
from collections import Counter
from collections.abc import Iterator

from mailworkers.gameday.judging.checks import check_whole
from mailworkers.gameday.judging.whole import Row, Whole

_ENDS_BY_SIGNAL = ("exit status 0", "terminated by SIGKILL", "terminated by SIGTERM")
_SLOWNESS = 5.0  # seconds
_TEXTS = (
    "SELECT summary AS text FROM mail.attempts WHERE summary LIKE %s",
    "SELECT reason AS text FROM mail.dead_letters WHERE reason LIKE %s",
    "SELECT detail AS text FROM mail.malformed_commands WHERE detail LIKE %s",
    "SELECT detail::text AS text FROM mail.processes WHERE detail::text LIKE %s",
)
# Of one process, whatever happens around it: what docs/reliability.md promises.
LIMITS = {"rss_mb": 300.0, "fds": 128.0, "threads": 64.0, "connections": 12.0}


@check_whole("I-04 nothing is held: no entry pending, no transaction idle")
def _nothing_is_held(whole: Whole) -> Iterator[str]:
    yield from (f"group {group}" for group in whole.pending if group[1] or group[2])
    yield from (f"{row}" for row in whole.idle_transactions)


@check_whole("I-20 no role ends but by an injected signal")
def _nobody_dies_alone(whole: Whole) -> Iterator[str]:
    hurt = {
        (fault["target"], whole.effects[fault["number"]]["pid"])
        for fault in whole.effective("", "kill", "term")
        if "pid" in whole.effects[fault["number"]]
    }
    may_stop = bool(whole.effective("supervisord", "scale"))
    lived = set()
    for life in whole.lives:
        lived.add((life.program, life.pid))
        was_told = (life.program, life.pid) in hurt
        was_scaled = may_stop and life.program.startswith("sender-")
        if life.how and life.how not in _ENDS_BY_SIGNAL:
            yield f"{life.program} {life.pid}: {life.how}"
        elif life.how and not was_told and not was_scaled:
            yield f"{life.program} {life.pid} ended by itself: {life.how}"
    yield from (f"{name} {pid} was told to end, and not seen" for name, pid in hurt - lived)
    yield from _survivors(whole, hurt)


def _survivors(whole: Whole, hurt: set[tuple[str, int]]) -> Iterator[str]:
    """Yield who was told to end and was succeeded under the same supervisord without an end."""
    latest = {(life.program, life.supervisord): life.pid for life in whole.lives}
    killed = {
        whole.effects[fault["number"]].get("supervisord")
        for fault in whole.effective("supervisord", "kill")
    }
    for life in whole.lives:
        is_last = latest[life.program, life.supervisord] == life.pid
        is_missing = (life.program, life.pid) in hurt and not life.how
        if is_missing and not (is_last and life.supervisord in killed):
            yield f"{life.program} {life.pid} was told to end, and did not"


@check_whole("N-10 whoever is told to stop ends in time")
def _stops_are_short(whole: Whole) -> Iterator[str]:
    # A process that hardly gets any time sees its alarm late.
    longest = whole.places.shutdown + _SLOWNESS
    for fault in whole.effective("", "term"):
        seconds = whole.effects[fault["number"]]["seconds_to_end"]
        if seconds is None or seconds > longest:
            yield f"{fault['target']} took {seconds} s, the limit is {longest} s"


@check_whole("N-02 SIGTERM alone doubles nothing, leaves no doubt, and is obeyed with exit code 0")
def _stops_are_clean(whole: Whole) -> Iterator[str]:
    if not whole.places.is_gentle:
        return
    for name in ("duplicates", "attempts with outcome unknown"):
        if whole.tally[name]:
            yield f"{name}: {whole.tally[name]}"
    for life in whole.lives:
        if life.how not in ("", "exit status 0"):
            yield f"{life.program} {life.pid}: {life.how}"


def stop_seconds(whole: Whole) -> list[float]:
    """Return how long each process took from SIGTERM to its end, shortest first."""
    effects = (whole.effects[fault["number"]] for fault in whole.effective("", "term"))
    return sorted(
        math.inf if (seconds := effect["seconds_to_end"]) is None else seconds for effect in effects
    )


@check_whole("I-20 what supervisord leaves behind ends")
def _orphans_end(whole: Whole) -> Iterator[str]:
    for fault in whole.effective("supervisord", "kill"):
        effect = whole.effects[fault["number"]]
        if effect["left"]:
            yield f"after fault {fault['number']}: {effect['left']}"


@check_whole("I-24 the password is nowhere")
def _secrets_are_kept(whole: Whole) -> Iterator[str]:
    secret = whole.places.secret.encode()
    shapes = [secret, base64.b64encode(secret), base64.b64encode(b"\0chaos\0" + secret)]
    for path in whole.places.state_dir.rglob("*"):
        if path.is_file() and any(shape in path.read_bytes() for shape in shapes):
            yield f"{path}"
    for query in _TEXTS:
        for shape in shapes:
            found: list[Row] = whole.conn.execute(
                query.encode(), [f"%{shape.decode()}%"]
            ).fetchall()
            yield from (row.text for row in found)


@check_whole("I-19 counters agree with the tables")
def _counters_agree(whole: Whole) -> Iterator[str]:
    for name, counted, happened in counts(whole):
        # What a process did and had not counted when it was killed, or could not know it did: a
        # batch for each fault. Many small ones are still few in a hundred.
        doubt = min(200 * len(whole.faults), 200 + happened // 50)
        if abs(counted - happened) > doubt:
            yield f"{name}: {counted} counted, {happened} happened"


def counts(whole: Whole) -> Iterator[tuple[str, int, int]]:
    """Yield for each counter of ends its name, what it says, and how often it happened."""
    moves = whole.rows(
        "SELECT before IS NULL AS is_new, after, count(*) AS n FROM chaos.moves GROUP BY 1, 2"
    )
    for name in ("accepted", "sent", "suppressed", "failed"):
        happened = sum(
            row.n for row in moves if (row.is_new if name == "accepted" else row.after == name)
        )
        yield name, whole.counters[f"mail_delivery_{name}_total"], happened


@check_whole("I-25 memory, descriptors, threads and connections stay within limits")
def _limits_hold(whole: Whole) -> Iterator[str]:
    for (role, name), most in sorted(most_used(whole).items()):
        if most > LIMITS[name]:
            yield f"{role}: {name} {most}, the limit is {LIMITS[name]}"


def most_used(whole: Whole) -> Counter[tuple[str, str]]:
    """Return the most that one process of each role was seen to use, by role and name."""
    most: Counter[tuple[str, str]] = Counter()
    for sample in whole.samples:
        for name in LIMITS.keys() & sample.keys():
            key = sample["program"].partition("-")[0], name
            most[key] = max(most[key], sample[name])
    return most
