"""`mailworkers suppressions`: the list of addresses that get no mail."""

import csv
import sys
from datetime import UTC, datetime
from typing import IO, TYPE_CHECKING

import click

from mailworkers.cli.acting import (
    DRY_RUN,
    LONGEST_REASON,
    dry_options,
    reason_option,
    yes_option,
)
from mailworkers.cli.completion import complete_source
from mailworkers.cli.composing import canonical_of, parse_when
from mailworkers.cli.output import json_option, print_json, printable, progress, short_time
from mailworkers.cli.reaching import api_option, operations
from mailworkers.cli.tables import print_table

if TYPE_CHECKING:
    from mailworkers.adapters.store.suppressions import Listing, Suppression

EVERYTHING = "*"
_COLUMNS = ("address", "scope", "reason", "expires_at")
_PAGE = 1000
_BATCH = 200

_scope_option = click.option(
    "--scope",
    default=EVERYTHING,
    metavar="SOURCE",
    shell_complete=complete_source,
    help="For mail of this source only; without it for all mail.",
)


@click.group()
def suppressions() -> None:
    """See and change the list of addresses that get no mail.

    It is asked when mail is accepted and again when it is about to be sent.
    """


@suppressions.command("list")
@click.argument("address", required=False)
@click.option("--limit", type=click.IntRange(1, 10_000), default=100, show_default=True)
@api_option
@json_option
def list_(*, address: str | None, limit: int, as_json: bool) -> None:
    """Show the list, or what it says about one ADDRESS, in whatever form that is written."""
    wanted = canonical_of(address) if address else None
    with operations("suppressions list") as reached:
        found = reached.list_suppressions(wanted, limit)
    if as_json:
        print_json(found)
    elif found:
        columns = ("address", "scope", "reason", "since", "until", "by")
        print_table(columns, map(_row, found), whole=("address",), spare=("by",))
    else:
        click.echo(f"{address} is not on the list" if address else "the list is empty")


def _row(found: "Suppression") -> tuple[object, ...]:
    since, until = short_time(found.created_at), short_time(found.expires_at)
    return found.canonical, found.scope, found.reason, since, until, found.created_by


@suppressions.command()
@click.argument("addresses", nargs=-1, required=True, metavar="ADDRESS...")
@_scope_option
@click.option("--until", metavar="WHEN", help="Not for ever: 2027-01-31T08:00:00Z, or +90d.")
@reason_option
@api_option
@json_option
def add(
    *, addresses: tuple[str, ...], scope: str, until: str | None, reason: str, as_json: bool
) -> None:
    """Put addresses on the list.

    Mail to them that waits is suppressed when its turn comes; one already there gets the new reason
    and end.
    """
    from mailworkers.adapters.store.suppressions import Listing

    ends = parse_when(until, datetime.now(UTC)) if until else None
    listings = [Listing(canonical_of(a), reason, scope, ends) for a in addresses]
    _put(listings, reason, as_json=as_json)


@suppressions.command()
@click.argument("addresses", nargs=-1, required=True, metavar="ADDRESS...")
@_scope_option
@dry_options
@yes_option
@api_option
@json_option
def remove(
    *,
    addresses: tuple[str, ...],
    scope: str,
    reason: str,
    is_dry: bool,
    is_sure: bool,
    as_json: bool,
) -> None:
    """Take addresses off the list: they get mail again. Exit code 1 when none of them stood there.

    It asks first: they may be there because somebody complained.
    """
    keys = [(canonical_of(address), scope) for address in addresses]
    with operations("suppressions remove") as reached:
        if is_dry or not is_sure:
            there = [it for name, _ in keys for it in reached.list_suppressions(name, _PAGE)]
            there = [it for it in there if it.scope == scope]
            if is_dry and as_json:
                print_json({"would_remove": there})
                return
            for found in there:
                words = f"{found.canonical}: {found.reason}, by {found.created_by}"
                click.echo(printable(words), err=not is_dry)
            if is_dry:
                return
            if there:
                click.confirm(f"take {len(there)} off the list?", abort=True, err=True)
        gone = reached.remove_suppressions(keys, reason)
    if as_json:
        print_json({"removed": gone})
    if not gone:
        raise click.ClickException(
            "none of them is on the list in this scope; `mailworkers suppressions list ADDRESS` "
            "shows where an address is"
        )
    if not as_json:
        click.echo(f"{len(gone)} taken off the list")


@suppressions.command("import")
@click.argument("file", type=click.File("r", encoding="utf-8-sig"))
@dry_options
@yes_option
@api_option
@json_option
def import_(*, file: IO[str], reason: str, is_dry: bool, is_sure: bool, as_json: bool) -> None:
    """Put the addresses of a CSV FILE (`-`: standard input) on the list.

    Its header names the columns: `address`, and if wanted `scope`, `reason` and `expires_at`; what
    `export` writes can be read back. One bad line and nothing is changed.
    """
    listings = _read(file, reason or DRY_RUN)
    if is_dry and as_json:
        print_json({"would_put": listings})
        return
    if is_dry:
        click.echo(f"{len(listings)} would be put on the list, all of them well formed")
        return
    if not is_sure and file is not sys.stdin:
        click.confirm(f"put {len(listings)} addresses on the list?", abort=True, err=True)
    _put(listings, reason, as_json=as_json)


@suppressions.command()
@click.argument("file", type=click.File("w", encoding="utf-8"), default="-")
@api_option
def export(*, file: IO[str]) -> None:
    """Write the whole list to FILE as CSV."""
    writer = csv.writer(file)
    writer.writerow(_COLUMNS)
    with operations("suppressions export") as reached:
        for found in reached.all_suppressions():
            until = found.expires_at.isoformat() if found.expires_at else ""
            writer.writerow((found.canonical, found.scope, found.reason, until))


def _put(listings: "list[Listing]", reason: str, *, as_json: bool) -> None:
    changed = []
    batches = [listings[at : at + _BATCH] for at in range(0, len(listings), _BATCH)]
    with operations("suppressions add") as reached:
        for batch in progress(batches, "on the list"):
            changed += reached.put_suppressions(batch, reason)
    if as_json:
        print_json({"changed": changed})
    else:
        same = len({(made.canonical, made.scope) for made in listings}) - len(changed)
        click.echo(f"{len(changed)} put on the list" + (f", {same} were there" if same else ""))


def _read(file: IO[str], reason: str) -> "list[Listing]":
    """Return the lines of a CSV file, all of them checked."""

    reader = csv.DictReader(file)
    columns = reader.fieldnames or ()
    unknown = set(columns) - set(_COLUMNS)
    if "address" not in columns or unknown:
        raise click.ClickException(
            f"{file.name}: the first line names the columns: {', '.join(_COLUMNS)}; only address "
            "is needed"
        )
    listings = []
    for line in reader:
        try:
            listings.append(_listing(line, reason))
        except click.ClickException as error:
            raise click.ClickException(
                f"{file.name}:{reader.line_num}: {error.message}; nothing was changed"
            ) from None
    return listings


def _listing(line: dict[str, str | None], reason: str) -> "Listing":
    from mailworkers.adapters.store.suppressions import Listing

    why, until = line.get("reason") or reason, line.get("expires_at")
    if not why.isprintable() or len(why) > LONGEST_REASON:
        raise click.ClickException(
            f"the reason is not one line of at most {LONGEST_REASON} characters"
        )
    return Listing(
        canonical=canonical_of(line["address"] or ""),
        reason=why,
        scope=line.get("scope") or EVERYTHING,
        expires_at=parse_when(until, datetime.now(UTC)) if until else None,
    )
