"""The consumer: stream entry -> durable delivery, or malformed record; then the acknowledgement.

One batch a step: read, decode, compose, one transaction that stores deliveries and refusals
together, COMMIT, XACK, wake the senders. While Postgres is away the batch stays in memory, and
its entries are kept fresh in Redis. Entries handed out before are taken one by one: an entry that
kills its consumer harms only itself, and after three times it is set aside unread.

Killed before COMMIT: nothing happened; the respawned process finds the entries in its name, another
one takes them over. Killed between COMMIT and XACK: the entries come again, their keys are
recognised, they are acknowledged. Killed while setting aside: one malformed record, not two.
"""

from collections import Counter
from collections.abc import Sequence
from datetime import timedelta

import msgspec

from mailworkers.adapters import db, process, redis_health, store
from mailworkers.adapters.catalog import Catalog
from mailworkers.adapters.crash_points import Point, reached, when_answered
from mailworkers.adapters.entry_reader import EntryReader
from mailworkers.adapters.intake import Intake, Prepared, write
from mailworkers.adapters.refusals import refusal_of
from mailworkers.adapters.settings import Settings
from mailworkers.adapters.store import Acceptance, Malformed, Verdict
from mailworkers.adapters.stream import (
    MOST_HANDOUTS,
    Entry,
    GroupMadeAnew,
    Stream,
    consumer_name,
)
from mailworkers.adapters.template_files import packaged_directory
from mailworkers.core.commands import FailureCode, Refusal, decode_entry
from mailworkers.core.states import READY, Status

MOST_RAW = 2 * 1024 * 1024
_FRESHEN_EVERY = timedelta(seconds=4)
_ADOPT_EVERY = timedelta(seconds=5)
_TRIM_EVERY = timedelta(seconds=10)


class Item(msgspec.Struct):
    """One entry of a batch and what it came to: a command made ready, or a refusal."""

    entry: Entry
    result: Prepared | Refusal


class Written(msgspec.Struct, frozen=True):
    """What one transaction stored: source and status of the accepted, entry ids of the refused."""

    accepted: list[tuple[str, str]]
    refused: list[tuple[str, Refusal]]


class Consumer:
    """Reads the stream as one consumer of the group."""

    def __init__(self, context: process.Context) -> None:
        settings = context.settings
        self._database = context.database
        self._telemetry = context.telemetry
        self._waker = context.waker
        self._sources = settings.sources
        self._stream = Stream(
            settings,
            consumer_name(),
            settings.poll,
            on_new_group=context.telemetry.group_made_anew,
        )
        self._stream.ensure_group()
        for danger in redis_health.examine(settings).dangers():
            context.telemetry.setting_doubted(danger)
        # After Redis: while that is away all of this is begun anew every second.
        catalog = Catalog.load(settings.template_dir or packaged_directory())
        self._intake = Intake(settings, catalog, context.clock.now, context.telemetry.tracer)
        self._batch: list[Item] = []
        self._done: list[str] = []
        self._reader = EntryReader(self._stream)
        self._adopt = process.Every(_ADOPT_EVERY)
        self._trim = process.Every(_TRIM_EVERY)
        self._freshen = process.Every(_FRESHEN_EVERY)
        self._has_held = True  # by an earlier process of this name, perhaps
        for doubt in self._intake.doubts:
            context.telemetry.setting_doubted(doubt)

    def step(self) -> bool:
        """Bring one batch into Postgres; True unless the stream had nothing new."""
        try:
            return self._take_in()
        except GroupMadeAnew:
            return True

    def _take_in(self) -> bool:
        self._acknowledge()
        if not self._batch:
            self._keep_house()
            entries = self._next_entries()
            if not entries:
                return False
            reached(Point.ENTRIES_READ)
            self._batch = [self._item(entry) for entry in entries]
            reached(Point.DECODED)
        self._store_batch()
        self._acknowledge()
        return True

    def wait(self) -> None:
        """The blocking read was the wait."""

    def interrupt(self, store_name: str) -> None:
        """Keep the batch for later, and its entries ours: waiting is no failure."""
        if store_name == "redis":
            self._has_held = True  # with an answer that was lost, perhaps
        if store_name == "postgres" and self._batch and self._freshen.is_due():
            self._stream.keep_fresh([item.entry.entry_id for item in self._batch])

    def close(self) -> None:
        """Acknowledge what is stored; a batch that is not stays pending and is taken over."""
        try:
            self._acknowledge()
        finally:
            self._stream.close()

    # Reading.

    def _keep_house(self) -> None:
        """Take over what dead consumers held; trim what everybody has finished with."""
        if self._adopt.is_due():
            for entry_id in self._stream.adopt_stale():
                self._telemetry.entry_vanished(entry_id)
            self._has_held = True
        if self._trim.is_due():
            self._stream.trim()
            self._stream.forget_dead_consumers()

    def _next_entries(self) -> list[Entry]:
        """Return one entry that was handed out before, or else new ones."""
        if self._has_held:
            for entry_id, handouts in self._stream.held(limit=1):
                entry = self._take_again(entry_id, handouts)
                if entry.fields is None:
                    self._telemetry.entry_vanished(entry_id)
                return [entry]
            self._has_held = False
        return self._reader.read()

    def _take_again(self, entry_id: str, handouts: int) -> Entry:
        """Return a held entry; what was handed out too often comes marked, unread."""
        if handouts >= MOST_HANDOUTS:
            return Poisoned(entry_id, self._stream.look_at(entry_id).fields)
        return self._stream.take(entry_id)

    # Deciding.

    def _item(self, entry: Entry) -> Item:
        """Decode and compose one entry."""
        if entry.fields is None:
            return Item(entry, Refusal(FailureCode.POISON, "the entry was trimmed while pending"))
        if isinstance(entry, Poisoned):
            detail = f"handed out {MOST_HANDOUTS} times without success"
            return Item(entry, Refusal(FailureCode.POISON, detail))
        command = decode_entry(entry.fields, sources=self._sources)
        if isinstance(command, Refusal):
            return Item(entry, command)
        return Item(entry, self._intake.prepare(command))

    # Storing.

    def _store_batch(self) -> None:
        """Store the batch in one transaction; what is stored waits for its acknowledgement."""
        conn = self._database.conn
        written = db.run_transaction(conn, lambda: self._write(conn))
        self._done.extend(item.entry.entry_id for item in self._batch)
        for item in self._batch:
            if isinstance(item.result, Prepared):
                item.result.end_span()
        self._batch = []
        reached(Point.NOT_ACKNOWLEDGED)
        self._report(written.accepted)
        if written.refused:
            reached(Point.REFUSAL_STORED)
        for entry_id, refusal in written.refused:
            self._telemetry.command_rejected(
                failure_code=refusal.code,
                delivery_id=refusal.delivery_id,
                source=refusal.source,
                stream_entry_id=entry_id,
                detail=refusal.detail,
            )

    def _write(self, conn: db.Connection) -> Written:
        """Store deliveries and refusals of the batch; a conflict is a refusal, too."""
        written = Written([], [])
        refused = [(i.entry, i.result) for i in self._batch if isinstance(i.result, Refusal)]
        items = [(i.entry, i.result) for i in self._batch if isinstance(i.result, Prepared)]
        results = write(conn, [prepared for _, prepared in items])
        for (entry, prepared), result in zip(items, results, strict=True):
            refusal = _refusal(prepared, result)
            if refusal is not None:
                refused.append((entry, refusal))
            elif isinstance(result, Acceptance) and result.verdict is Verdict.ACCEPTED:
                written.accepted.append((prepared.command.source, result.status))
        records = [_malformed(entry, refusal) for entry, refusal in refused]
        fresh = store.store_malformed(conn, self._stream.name, records) if records else frozenset()
        written.refused.extend((e.entry_id, r) for e, r in refused if e.entry_id in fresh)
        reached(Point.STORED)
        when_answered(Point.STORE_COMMITTED, conn)
        return written

    def _report(self, accepted: Sequence[tuple[str, str]]) -> None:
        """Count what was accepted and wake whoever has work by it."""
        for (source, status), count in Counter(accepted).items():
            self._telemetry.command_accepted(source, status, count)
        statuses = {status for _, status in accepted}
        if statuses & READY:
            self._waker.wake_senders()
        if Status.SCHEDULED in statuses:
            self._waker.wake_scheduler()

    def _acknowledge(self) -> None:
        """Acknowledge what is stored; forgotten only when Redis has taken it."""
        if self._done:
            self._stream.acknowledge(self._done)
            self._done.clear()


class Poisoned(Entry, frozen=True):
    """An entry that was handed out too often: set aside without being decoded."""


def _refusal(prepared: Prepared, result: Acceptance | Refusal) -> Refusal | None:
    """Return why a command is refused, if it is: by itself, or by what the store holds already."""
    if isinstance(result, Refusal):
        return result
    return refusal_of(result, prepared.command)


def _malformed(entry: Entry, refusal: Refusal) -> Malformed:
    """Return the record of a refused entry: raw, cut when it is very large."""
    raw = msgspec.msgpack.encode(dict(entry.fields or {}))
    return Malformed(
        entry_id=entry.entry_id,
        failure_code=refusal.code,
        detail=refusal.detail,
        source=refusal.source,
        delivery_id=refusal.delivery_id,
        raw=raw[:MOST_RAW],
        raw_size=len(raw),
        is_complete=len(raw) <= MOST_RAW,
    )


def main(settings: Settings) -> int:
    """Run a consumer until it is told to stop; return the exit code."""
    return process.run("consumer", settings, Consumer)
