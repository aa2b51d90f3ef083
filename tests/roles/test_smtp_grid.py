"""The SMTP grid: 14 phases by 16 behaviours, each cell tried with a sender and a real database.

What must come of a cell is in `smtp_grid/rules.py`. The sender makes one step with the relay
misbehaving; then everything that is recorded is compared, then the relay is good again and the next
delivery must arrive by its own replies, over the same sender.
"""

import time
from collections.abc import Iterator
from uuid import UUID

import pytest
from psycopg import sql

from mailworkers.adapters import db
from mailworkers.embedded.servers import Servers
from mailworkers.roles.sender import Sender
from tests.certificates import Certificates
from tests.deliveries import recipient_statuses, row
from tests.eventually import eventually
from tests.relay import Relay
from tests.roles.smtp_grid import behaviours, places
from tests.roles.smtp_grid.places import CASES, NOT_POSSIBLE, PLACES, Case
from tests.roles.smtp_grid.rules import RULES, SAID, Expected, expected
from tests.roles.smtp_grid.testbed import Testbed, disturbance, lay_out, limit_of

MARGIN = 1.0  # seconds a phase may last longer than its deadline


@pytest.fixture(scope="module")
def bed(
    servers: Servers,
    _migrated: sql.Composed,
    certificates: Certificates,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Testbed]:
    """The testbed of all cases, on an empty database."""
    with db.connect(servers.postgres_dsn) as conn:
        conn.execute(_migrated)
    with lay_out(servers, certificates, tmp_path_factory.mktemp("grid")) as made:
        yield made


# The table itself


def test_the_grid_has_every_cell_and_those_left_out_say_why() -> None:
    """14 phases by 16 behaviours: 224 cells, each tried, or impossible for a written reason."""
    cells = {(phase, number) for phase in places.TITLES for number in behaviours.TITLES}
    tried = {case.cell for case in CASES}

    assert len(cells) == 224
    assert tried | set(NOT_POSSIBLE) == cells
    assert tried.isdisjoint(NOT_POSSIBLE)
    assert all(len(reason.split()) > 5 for reason in NOT_POSSIBLE.values())
    assert len({place.words for place in PLACES}) == len(PLACES)


def test_every_case_is_met_by_exactly_one_rule_and_every_rule_is_used() -> None:
    """Nothing is left to the order of the rules."""
    met = {case.name: [rule for rule in RULES if rule.meets(case)] for case in CASES}

    assert {name: rules for name, rules in met.items() if len(rules) != 1} == {}
    assert [rule for rule in RULES if not any(map(rule.meets, CASES))] == []


# The cells


def _parameters() -> Iterator[object]:
    for case in CASES:
        marks = [pytest.mark.slow] if case.behaviour.waits else []
        yield pytest.param(case, id=case.name.replace(" ", "-"), marks=marks)


@pytest.mark.parametrize("case", list(_parameters()))
def test_a_cell_of_the_grid(bed: Testbed, case: Case) -> None:
    """One outcome, the one of the rules, in time; and the next message is not harmed."""
    relay = bed.relays[case.place.kind]
    sender = bed.sender(case.place.kind, is_short=case.behaviour.waits)
    relay.hangs_up()
    bed.close_breaker()
    eventually(lambda: bed.breaker(case.place.kind, sender) != "open")
    wanted = expected(case)
    delivery_id = bed.deliver(case.place.recipients, case.place.size)
    sessions = relay.sessions

    with disturbance(case, relay):
        began = time.monotonic()
        assert sender.step() is True
        took = time.monotonic() - began

        assert took < limit_of(case) + MARGIN
        compare(bed, case, delivery_id, wanted)
        assert bed.copies(case.place.kind, delivery_id) == wanted.copies
        assert bed.breaker(case.place.kind, sender) == wanted.breaker
        assert bed.leased() == 0
        if wanted.breaker == "open":
            tried = relay.sessions
            assert sender.step() is False
            assert relay.sessions == tried
            bed.close_breaker()
        if case.place.words == "P12 between" and wanted.is_kept is False:
            bed.notices(sender)
    before = bed.state(delivery_id)
    the_next_arrives(bed, case, sender, relay)

    if wanted.status == "queued":  # it was ready again, and is sent by now
        first, second = bed.attempts(delivery_id)
        assert [first] == before[2]
        assert (second.status, second.outcome) == ("provider_accepted", "success")
        assert row(bed.conn, delivery_id)["cycle_attempt"] == 1
        assert bed.copies(case.place.kind, delivery_id) == 1
    else:
        assert bed.state(delivery_id) == before
        assert bed.copies(case.place.kind, delivery_id) == wanted.copies
    if wanted.is_kept is not None:
        assert relay.sessions == sessions + (1 if wanted.is_kept else 2)


def compare(bed: Testbed, case: Case, delivery_id: UUID, wanted: Expected) -> None:
    """Compare what is recorded about the first attempt with what must be."""
    delivery = row(bed.conn, delivery_id)
    (attempt,) = bed.attempts(delivery_id)
    recipients = recipient_statuses(bed.conn, delivery_id)
    left = "uncertain" if wanted.status == "uncertain" else "open"

    assert (delivery["status"], attempt.status, attempt.outcome, attempt.stage) == (
        wanted.status,
        wanted.attempt,
        wanted.outcome,
        wanted.stage,
    )
    said = str(case.behaviour.act(case.place.replies))[:3]
    assert attempt.reply_code == (int(said) if wanted.code == SAID else wanted.code)
    assert delivery["cycle_attempt"] == int(wanted.is_burnt)
    assert attempt.summary.isprintable()
    assert 0 < len(attempt.summary) <= 512
    assert sorted(recipients) == sorted(
        ["accepted"] * wanted.accepted
        + ["refused"] * wanted.refused
        + [left] * (case.place.recipients - wanted.accepted - wanted.refused)
    )


def the_next_arrives(bed: Testbed, case: Case, sender: Sender, relay: Relay) -> None:
    """Deliver another one, known by a reply that is given to nothing else."""
    own_words = f"queued as {case.name}"
    relay.says(DOT=f"250 2.0.0 {own_words}")
    following = bed.deliver(size=case.place.size)

    eventually(
        lambda: sender.step() is False and row(bed.conn, following)["status"] == "sent", within=10
    )

    (attempt,) = bed.attempts(following)
    assert (attempt.status, attempt.outcome) == ("provider_accepted", "success")
    assert (attempt.reply_code, attempt.summary) == (250, own_words)
    assert bed.copies(case.place.kind, following) == 1
