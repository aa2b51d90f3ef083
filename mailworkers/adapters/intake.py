"""Taking commands in: one way for the stream and for HTTP.

Commands are composed into final bytes, then accepted; everything that can refuse a command has done
so when `accept` returns. What is returned stands for a committed row only after the transaction.
"""

import os
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from uuid import UUID

import msgspec

from mailworkers.adapters import db, store
from mailworkers.adapters.catalog import Catalog
from mailworkers.adapters.settings import Settings
from mailworkers.adapters.store import Acceptance
from mailworkers.adapters.template_files import CONTRACT
from mailworkers.core.commands import Command, Refusal
from mailworkers.core.dkim import Keyring
from mailworkers.core.errors import ConfigError
from mailworkers.core.intake import Composer, Identity, NewDelivery
from mailworkers.core.mailboxes import sender_for
from mailworkers.core.refusals import Refused
from mailworkers.core.resending import Cloner, Original


def new_delivery_id() -> UUID:
    """Return a UUIDv7 (RFC 9562 section 5.7): the time in milliseconds, then 74 random bits."""
    milliseconds = time.time_ns() // 1_000_000
    noise = int.from_bytes(os.urandom(10), "big")
    return UUID(
        int=(milliseconds << 80)
        | (0x7 << 76)
        | ((noise >> 68) << 64)
        | (0b10 << 62)
        | (noise & ((1 << 62) - 1))
    )


class Prepared(msgspec.Struct, frozen=True):
    """A command made ready outside of any transaction: what to store, or why it is refused."""

    command: Command
    result: NewDelivery | Refusal


class Intake:
    """Composes and accepts commands by the settings and the catalog of this process.

    *now* tells the time that counts: the database's. The keys that sign are read here, once;
    *doubts* are lines about keys that sign and templates that render but are probably not meant.
    ConfigError when a template has a sender that the settings do not allow.
    """

    def __init__(self, settings: Settings, catalog: Catalog, now: Callable[[], datetime]) -> None:
        self._now = now
        keyring, doubts = _keyring(settings)
        self.doubts = [*doubts, *(f"template {problem}" for problem in catalog.warnings)]
        identity = Identity(settings.smtp_from_email, settings.smtp_from_allowed)
        _check_senders(catalog, identity)
        self._composer = Composer(
            identity=identity,
            renderer=catalog,
            retry_policy=settings.retry_policy,
            auth_life=settings.auth_life,
            stub=settings.smtp_mode == "stub",
            keyring=keyring,
        )

    def prepare(self, command: Command) -> Prepared:
        """Compose the delivery *command* asks for, as final bytes, or find why it is refused."""
        delivery_id = command.delivery_id or new_delivery_id()
        result = self._composer.compose(command, delivery_id=delivery_id, now=self._now())
        return Prepared(command, result)

    def preview(self, command: Command) -> NewDelivery | Refusal:
        """Return what `prepare` would make of *command*, but never signed."""
        composer = msgspec.structs.replace(self._composer, keyring=Keyring({}))
        return composer.compose(
            command, delivery_id=command.delivery_id or new_delivery_id(), now=self._now()
        )

    def clone(
        self, original: Original, *, idempotency_key: str, expires_at: datetime | None
    ) -> NewDelivery:
        """Return a resend of *original*, signed anew."""
        cloner = Cloner(self._composer.stub, self._composer.keyring)
        return cloner.clone(
            original,
            delivery_id=new_delivery_id(),
            idempotency_key=idempotency_key,
            now=self._now(),
            expires_at=expires_at,
        )

    def accept(
        self, conn: db.Connection, commands: Sequence[Command]
    ) -> list[Acceptance | Refusal]:
        """Compose *commands* and store them in one transaction; a result for each, in order."""
        prepared = [self.prepare(command) for command in commands]
        return db.run_transaction(conn, lambda: write(conn, prepared))


def _check_senders(catalog: Catalog, identity: Identity) -> None:
    for template in catalog.templates.values():
        try:
            sender_for(identity, template.contract.mail.sender)
        except Refused as refused:
            place = f"{template.template_id}/{CONTRACT}"
            raise ConfigError(f"{place}: from: {refused.reason}") from None


def _keyring(settings: Settings) -> tuple[Keyring, list[str]]:
    """Return what signs by *settings*, and the doubts; the library comes only where it is used."""
    if not settings.dkim_selectors:
        return Keyring({}), []
    from mailworkers.adapters.dkim_keys import load_keys

    keys = load_keys(settings.dkim_dir, settings.dkim_selectors)
    return keys.keyring(), keys.doubts()


def write(conn: db.Connection, prepared: Sequence[Prepared]) -> list[Acceptance | Refusal]:
    """Store what was prepared, inside the caller's transaction; a result for each, in order.

    The key is judged first: a command that was accepted once is a replay, even if it would be
    refused now (its template has changed, its time has passed).
    """
    news = [p.result for p in prepared if isinstance(p.result, NewDelivery)]
    refused = [p for p in prepared if isinstance(p.result, Refusal)]
    acceptances = iter(store.accept(conn, news) if news else ())
    replays = iter(store.find_replays(conn, [_claim(p.command) for p in refused]))
    results: list[Acceptance | Refusal] = []
    for p in prepared:
        if isinstance(p.result, Refusal):
            results.append(next(replays) or p.result)
        else:
            results.append(next(acceptances))
    return results


def _claim(command: Command) -> store.Claim:
    return store.Claim(command.source, command.idempotency_key, command.fingerprint)
