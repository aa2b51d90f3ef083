"""A schedule told so that a person can follow it."""

from collections.abc import Iterator

from tests.model.book import RULES, perform
from tests.model.hosts import Host, JournalFile
from tests.model.picks import Pick
from tests.model.rows import Row
from tests.model.senders import Sender
from tests.model.violations import Violation
from tests.model.walks import Failed, MakeWorld, Schedule
from tests.model.world import PARKED, World


def tell(failed: Failed, make: MakeWorld = World) -> str:
    """Return what was broken, the steps that did it, and how to do them again."""
    lines = [str(failed.violation), "", *_lines(failed.schedule, make), "", repr(failed.schedule)]
    return "\n".join(lines)


def _lines(schedule: Schedule, make: MakeWorld) -> Iterator[str]:
    world = make(PARKED[schedule.parked])
    yield f"parked lanes: {', '.join(lane.label for lane in sorted(world.parked)) or 'none'}"
    for number, step in enumerate(schedule.steps, 1):
        subjects = RULES[step.rule].subjects(world)
        if not subjects:
            continue
        whom = _label(subjects[Pick(step.number)(len(subjects))])
        try:
            perform(world, step)
        except Violation:
            yield f"{number:3} {step.rule}{whom}"
            return
        yield f"{number:3} {step.rule}{whom}: {_state(world)}"
    yield "then everybody goes on in peace"


def _label(subject: object) -> str:
    match subject:
        case Sender() | Host():
            return f" ({subject.name})"
        case Row():
            return f" ({subject.source})"
        case JournalFile():
            return f" (journal {subject.journal_id.int})"
        case _:
            return ""


def _state(world: World) -> str:
    """Return what the rows are now, with the copies that the relay took."""
    rows = []
    for row in world.rows:
        copies = sum(world.copies[row.delivery_id, n] for n in range(len(row.recipients)))
        rows.append(f"{row.source} {row.status} attempt {row.attempt_no} copies {copies}")
    return "; ".join(rows)
