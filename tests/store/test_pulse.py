"""The last quarter of an hour in stretches of ten seconds, as the console's overview draws it."""

from collections import Counter

from mailworkers.adapters import db
from mailworkers.adapters.store import pulse
from mailworkers.adapters.store.pulse import Pulse, Stretch
from tests.console.scenes import be_busy, put_dead_letters


def _read_all(conn: db.Connection, reader: Pulse) -> list[Stretch]:
    """Return the stretches once the past is read as far as it goes."""
    while len(found := reader.read(conn)) < pulse.SPAN // pulse.STRETCH:
        pass
    return found


def test_every_delivery_is_counted_once_where_it_came_and_where_it_ended(
    conn: db.Connection,
) -> None:
    """The stretches together are what the table says of their time."""
    be_busy(conn, 500)
    put_dead_letters(conn, 3)

    found = _read_all(conn, Pulse())

    since = found[0].begins_at
    rows = conn.execute(
        "SELECT status, count(*) FROM deliveries WHERE finished_at >= to_timestamp(%s) GROUP BY 1",
        [since],
    ).fetchall()
    ended: Counter[str] = Counter()
    for stretch in found:
        for (_, status), count in stretch.ended.items():
            ended[status] += count
    assert ended == dict(rows)
    came = conn.execute(
        "SELECT count(*) FROM deliveries WHERE created_at >= to_timestamp(%s)", [since]
    ).fetchone()
    assert came == (sum(sum(stretch.accepted.values()) for stretch in found),)
    assert [s.begins_at for s in found] == [since + 10 * n for n in range(len(found))]
    assert all(stretch.took[0] <= stretch.took[2] for stretch in found if stretch.took)


def test_what_is_over_is_not_counted_again_and_what_is_young_is(conn: db.Connection) -> None:
    """A commit may come a little after the time it writes; the rest stays as it was counted."""
    be_busy(conn, 50)
    reader = Pulse()
    before = _read_all(conn, reader)
    conn.execute("DELETE FROM attempts; DELETE FROM delivery_recipients; DELETE FROM deliveries")
    put_dead_letters(conn, 2)

    after = reader.read(conn)

    kept = {s.begins_at: s for s in before[:-4]}
    assert all(kept[s.begins_at] == s for s in after if s.begins_at in kept)
    assert sum(sum(s.ended.values()) for s in after[-3:]) == 2


def test_an_empty_service_has_empty_stretches(conn: db.Connection) -> None:
    """No gap, no error, nothing to draw."""
    found = _read_all(conn, Pulse())

    assert len(found) == 90
    assert not any(s.accepted or s.ended or s.took for s in found)
