"""What a sender writes down about its attempts, so that its death leaves no guess.

A record is `length, its complement, CRC-32, payload` (three little-endian 32-bit numbers, then
msgpack). Zeros end the journal: its space is allocated beforehand. A record that was torn by the
writer's death was never acted upon, since each is written before its act: it ends the journal, too.
Anything after such a place means corruption, and then nothing is certain but what was read before.
"""

import struct
import zlib
from collections.abc import Iterable
from uuid import UUID

import msgspec

from mailworkers.core.settlement import Settlement
from mailworkers.core.wire import Reply

_FRAME = struct.Struct("<III")
_ONES = 0xFFFFFFFF


class Header(msgspec.Struct, frozen=True, array_like=True, tag="journal"):
    """Whose journal it is: `leased_by` of its rows, and the boot in which it was written."""

    journal_id: UUID
    boot_id: str


class Begin(msgspec.Struct, frozen=True, array_like=True, tag="begin"):
    """An attempt begins: nothing of it has gone out."""

    delivery_id: UUID
    lease_token: UUID


class Dot(msgspec.Struct, frozen=True, array_like=True, tag="dot"):
    """The final dot goes out next; `replies` are those to RCPT, () when all were 2yz."""

    delivery_id: UUID
    lease_token: UUID
    replies: tuple[Reply | None, ...] = ()


class Answered(msgspec.Struct, frozen=True, array_like=True, tag="reply"):
    """The attempt is over, and this is what it means."""

    settlement: Settlement


class Settled(msgspec.Struct, frozen=True, array_like=True, tag="settled"):
    """Every answered attempt before this record is settled."""


Record = Header | Begin | Dot | Answered | Settled
_decoder = msgspec.msgpack.Decoder(Record)
_encoder = msgspec.msgpack.Encoder()


class Journal(msgspec.Struct, frozen=True):
    """What a journal says: per (delivery_id, lease_token) the latest record that is not settled."""

    header: Header | None
    latest: dict[tuple[UUID, UUID], Begin | Dot | Answered]
    is_corrupt: bool


def encode(record: Record) -> bytes:
    """Return *record* in its frame."""
    payload = _encoder.encode(record)
    length = len(payload)
    return _FRAME.pack(length, length ^ _ONES, zlib.crc32(payload)) + payload


def read(data: bytes) -> Journal:
    """Return what the journal *data* says. Never raises."""
    records, is_corrupt = _records(data)
    header = records[0] if records and isinstance(records[0], Header) else None
    is_headless = header is None and _has_content(data)
    return Journal(header, _latest(records), is_corrupt or is_headless)


def _records(data: bytes) -> tuple[list[Record], bool]:
    """Return the whole records, and whether something follows the place where they end."""
    records: list[Record] = []
    position = 0
    while position + _FRAME.size <= len(data):
        length, complement, checksum = _FRAME.unpack_from(data, position)
        start = position + _FRAME.size
        if length ^ complement != _ONES:
            return records, _has_content(data[start:])
        payload = data[start : start + length]
        if zlib.crc32(payload) != checksum or len(payload) < length:
            return records, not _is_torn(payload, length) or _has_content(data[start + length :])
        try:
            records.append(_decoder.decode(payload))
        except msgspec.DecodeError:
            return records, True
        position = start + length
    return records, False


def _is_torn(payload: bytes, length: int) -> bool:
    """Whether the end of a record was never written. No record ends in a zero, so one that is there
    to its last byte was whole once, and its act may have followed."""
    return len(payload) < length or payload[-1:] == b"\0"


def _has_content(data: bytes) -> bool:
    """Whether there is anything but the zeros of the allocation."""
    return data != bytes(len(data))


def _latest(records: Iterable[Record]) -> dict[tuple[UUID, UUID], Begin | Dot | Answered]:
    latest: dict[tuple[UUID, UUID], Begin | Dot | Answered] = {}
    for record in records:
        match record:
            case Begin() | Dot():
                latest[record.delivery_id, record.lease_token] = record
            case Answered(settlement):
                latest[settlement.delivery_id, settlement.lease_token] = record
            case Settled():
                for key in [k for k, found in latest.items() if isinstance(found, Answered)]:
                    del latest[key]
    return latest
