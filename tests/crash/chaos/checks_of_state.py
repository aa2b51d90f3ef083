"""Checks of the tables, the stream, the processes: every end has its reason, nothing is held."""

import base64
from collections import Counter
from collections.abc import Iterator

from tests.crash.chaos.checks import check, told
from tests.crash.chaos.evidence import Evidence, Row

_LADDER = 13  # attempts of the ladder the run is set to


@check("I-02 every delivery is over")
def _everything_ends(evidence: Evidence) -> Iterator[str]:
    for delivery_id, row in evidence.deliveries.items():
        if not evidence.is_final(row):
            yield f"{delivery_id} is {row.status}, next {row.next_attempt_at}"


@check("I-03 every end has its reason")
def _ends_have_reasons(evidence: Evidence) -> Iterator[str]:
    for delivery_id, row in evidence.deliveries.items():
        attempts = evidence.attempts.get(delivery_id, [])
        if not _has_reason(row, attempts):
            yield f"{delivery_id} is {row.status} ({row.failure}): {told(attempts)}"


def _has_reason(row: Row, attempts: list[Row]) -> bool:
    outcomes = [attempt.outcome for attempt in attempts]
    match row.status, row.failure:
        case "sent", _:
            codes = {a.reply_code for a in attempts if a.outcome == "success"}
            return bool(codes) and all(200 <= code < 300 for code in codes)
        case "failed", "rejected":
            return "permanent_error" in outcomes
        case "failed", "expired":
            # A retry that would come too late is not waited for.
            is_past = row.expires_at is not None and row.finished_at >= row.expires_at
            return bool(is_past) or (row.expires_at is not None and outcomes[-1:] != ["success"])
        case "failed", "poison":
            return [attempt.status for attempt in attempts].count("abandoned") >= 3
        case "dead_letter", _:
            return int(row.cycle_attempt) >= _LADDER
        case "suppressed", "policy":
            return "permanent_error" in outcomes
        case "uncertain", _:
            return "unknown" in outcomes
        case _:
            return False


@check("I-04 nothing is held: no entry pending, no transaction idle")
def _nothing_is_held(evidence: Evidence) -> Iterator[str]:
    yield from (f"group {group}" for group in evidence.pending if group[1] or group[2])
    yield from (f"{row}" for row in evidence.idle_transactions)


@check("I-12 no status goes backwards from an end")
def _history_goes_on(evidence: Evidence) -> Iterator[str]:
    late = {"sent", "failed", "suppressed"}  # what an outcome known too late may make of an end
    ends = {"suppressed", "failed", "dead_letter", "uncertain", "cancelled"}
    for delivery_id, row in evidence.deliveries.items():
        moves = evidence.moves.get(delivery_id, [])
        told = [(move.before, move.after, move.by) for move in moves]
        if [m.before for m in moves] != [None, *(m.after for m in moves[:-1])]:
            yield f"{delivery_id}: the history has a hole: {told}"
        if not moves or moves[-1].after != row.status:
            yield f"{delivery_id} is {row.status}, its history says {told}"
        for move in moves:
            is_late = move.by.startswith("mailworkers sender") and move.after in late
            if move.before == "sent" or (move.before in ends and not is_late):
                yield f"{delivery_id} went from {move.before} to {move.after} by {move.by}"


@check("I-14 every recipient has one outcome")
def _recipients_partition(evidence: Evidence) -> Iterator[str]:
    for command in evidence.commands.values():
        row = evidence.by_key.get((command.first["source"], command.first["key"]))
        if row is None:
            continue
        recipients = evidence.recipients.get(str(row.delivery_id), [])
        if sorted(r.address for r in recipients) != sorted(command.first["recipients"]):
            yield f"{row.delivery_id}: {recipients} for {command.first['recipients']}"
        statuses = {r.status for r in recipients}
        if evidence.is_final(row) and row.status != _closing(statuses):
            yield f"{row.delivery_id} is {row.status}, its recipients {sorted(statuses)}"


def _closing(statuses: set[str]) -> str:
    """Return the status that the recipients' rule of the contract gives."""
    for recipient, delivery in (
        ("open", "(alive)"),
        ("uncertain", "uncertain"),
        ("exhausted", "dead_letter"),
        ("accepted", "sent"),
        ("refused", "failed"),
        ("expired", "failed"),
        ("cancelled", "cancelled"),
    ):
        if recipient in statuses:
            return delivery
    return "suppressed"


@check("dead letters and deliveries match in both directions")
def _dead_letters_match(evidence: Evidence) -> Iterator[str]:
    entered = Counter(str(row.delivery_id) for row in evidence.dead_letters if not row.closed_at)
    for delivery_id, row in evidence.deliveries.items():
        wanted = int(row.status in ("failed", "dead_letter"))
        if entered[delivery_id] != wanted:
            yield f"{delivery_id} is {row.status} with {entered[delivery_id]} open dead letters"
    yield from (
        f"of no delivery: {row}"
        for row in evidence.dead_letters
        if str(row.delivery_id) not in evidence.deliveries
    )


@check("I-20 no role ends but by an injected signal")
def _nobody_dies_alone(evidence: Evidence) -> Iterator[str]:
    died = Counter(program for program, _ in evidence.exits)
    # A process may have been told twice: once to stop, then to die.
    hurt = Counter(
        program
        for program, _ in {
            (fault["target"], evidence.effects[fault["number"]]["pid"])
            for fault in evidence.effective("", "kill", "term")
        }
    )
    for program, how in evidence.exits:
        if how not in ("exit status 0", "terminated by SIGKILL", "terminated by SIGTERM"):
            yield f"{program}: {how}"
    for program in died | hurt:
        if died[program] != hurt[program]:
            yield f"{program} ended {died[program]} times, told to {hurt[program]} times"


@check("I-24 the password is nowhere")
def _secrets_are_kept(evidence: Evidence) -> Iterator[str]:
    secret = evidence.places.secret.encode()
    shapes = [secret, base64.b64encode(secret), base64.b64encode(b"\0chaos\0" + secret)]
    for path in evidence.places.state_dir.rglob("*"):
        if path.is_file() and any(shape in path.read_bytes() for shape in shapes):
            yield f"{path}"
    for row in evidence.texts:
        if row.text and any(shape.decode() in row.text for shape in shapes):
            yield row.text


@check("I-19 counters agree with the tables")
def _counters_agree(evidence: Evidence) -> Iterator[str]:
    statuses = Counter(row.status for row in evidence.deliveries.values())
    # What a process did and had not counted when it was killed, or could not know it did.
    doubt = 200 * len(evidence.faults)
    for name, rows in (
        ("accepted", len(evidence.deliveries)),
        ("sent", statuses["sent"]),
        ("suppressed", statuses["suppressed"]),
        ("failed", statuses["failed"]),
    ):
        counted = evidence.counters[f"mail_delivery_{name}_total"]
        if abs(counted - rows) > doubt:
            yield f"{name}: {counted} counted, {rows} rows"
