"""The journal's bytes: what was written is read, what was torn is not, corruption is noticed."""

from datetime import UTC, datetime
from uuid import UUID, uuid4

from hypothesis import given
from hypothesis import strategies as st

from mailworkers.core.journal import Answered, Begin, Dot, Header, Record, Settled, encode, read
from mailworkers.core.settlement import RecipientEnd, Settlement
from mailworkers.core.states import (
    AttemptOutcome,
    AttemptStatus,
    RecipientStatus,
    Stage,
    Status,
)
from mailworkers.core.wire import Reply

HEADER = Header(UUID(int=7), "boot")


def _settlement(delivery_id: UUID, token: UUID) -> Settlement:
    end = RecipientEnd(0, RecipientStatus.ACCEPTED, RecipientStatus.ACCEPTED, 250, None)
    return Settlement(
        delivery_id=delivery_id,
        lease_token=token,
        status=Status.SENT,
        failure=None,
        cancelled_status=Status.SENT,
        cancelled_failure=None,
        next_attempt_at=datetime(2026, 1, 1, tzinfo=UTC),
        is_burnt=True,
        attempt_status=AttemptStatus.PROVIDER_ACCEPTED,
        outcome=AttemptOutcome.SUCCESS,
        stage=Stage.END_OF_DATA,
        reply_code=250,
        enhanced_code="2.0.0",
        summary="ok",
        relay="relay:25",
        recipients=(end,),
    )


def _written(*records: Record) -> bytes:
    return b"".join(encode(record) for record in (HEADER, *records))


def test_the_latest_record_of_each_attempt_is_read() -> None:
    """Begin, then dot, then the answer: each takes the place of the one before."""
    token, begun, dotted, answered = uuid4(), uuid4(), uuid4(), uuid4()
    dot = Dot(dotted, token, (Reply(250), Reply(550, "5.1.1", "no"), None))
    over = Answered(_settlement(answered, token))

    found = read(
        _written(
            Begin(begun, token),
            Begin(dotted, token),
            dot,
            Begin(answered, token),
            Dot(answered, token),
            over,
        )
    )

    assert found.header == HEADER
    assert found.latest == {
        (begun, token): Begin(begun, token),
        (dotted, token): dot,
        (answered, token): over,
    }
    assert not found.is_corrupt


def test_what_is_settled_is_forgotten_and_what_is_under_way_is_not() -> None:
    """A settle in the middle of an attempt covers the answers before it only."""
    token, done, current = uuid4(), uuid4(), uuid4()

    found = read(_written(Answered(_settlement(done, token)), Begin(current, token), Settled()))

    assert set(found.latest) == {(current, token)}


def test_the_same_delivery_leased_again_is_another_attempt() -> None:
    """The token tells them apart."""
    delivery_id, first, second = uuid4(), uuid4(), uuid4()

    found = read(_written(Dot(delivery_id, first), Begin(delivery_id, second)))

    assert found.latest[delivery_id, first] == Dot(delivery_id, first)
    assert found.latest[delivery_id, second] == Begin(delivery_id, second)


def test_the_zeros_of_the_allocation_end_it() -> None:
    """Space is allocated beforehand; it is not corruption."""
    found = read(_written(Begin(uuid4(), uuid4())) + b"\0" * 4096)

    assert len(found.latest) == 1
    assert not found.is_corrupt


@given(st.integers(min_value=1))
def test_a_torn_last_record_was_never_acted_upon(cut: int) -> None:
    """Each record is written before its act: without its end it says nothing."""
    token, whole, torn = uuid4(), uuid4(), uuid4()
    last = encode(Dot(torn, token))
    data = _written(Begin(whole, token)) + last[: cut % len(last)]

    found = read(data)

    assert set(found.latest) == {(whole, token)}
    assert not found.is_corrupt


@given(st.data())
def test_a_changed_byte_is_noticed_and_what_stands_before_it_counts(data: st.DataObject) -> None:
    """Corruption in the middle: nothing after it is believed, and the reader says so."""
    token = uuid4()
    ids = [uuid4() for _ in range(6)]
    frames = [encode(HEADER), *(encode(Begin(delivery_id, token)) for delivery_id in ids)]
    whole = bytearray(b"".join(frames))
    limit = len(whole) - len(frames[-1])
    place = data.draw(st.integers(0, limit - 1))
    whole[place] ^= data.draw(st.integers(1, 255))

    found = read(bytes(whole))

    assert found.is_corrupt
    believed = [delivery_id for delivery_id, _ in found.latest]
    assert believed == ids[: len(believed)]


@given(st.integers(0, 10_000))
def test_a_turned_bit_in_the_last_record_is_not_taken_for_a_tear(bit: int) -> None:
    """It was written whole, so its act may have followed: believing in less would send twice."""
    token, delivery_id = uuid4(), uuid4()
    whole = _written(Begin(delivery_id, token))
    last = bytearray(encode(Dot(delivery_id, token)))
    last[bit // 8 % len(last)] ^= 1 << bit % 8

    found = read(whole + bytes(last) + bytes(64))

    assert found.is_corrupt
    assert found.latest == {(delivery_id, token): Begin(delivery_id, token)}


@given(st.binary(max_size=400))
def test_no_bytes_at_all_can_harm_the_reader(data: bytes) -> None:
    """Whatever lies in the file: an answer, and no header that nobody wrote."""
    found = read(data)

    assert found.latest == {}


def test_an_empty_file_is_an_empty_journal() -> None:
    """Killed between making the file and writing its header."""
    assert not read(b"").is_corrupt
    assert read(b"").header is None
