"""`mailworkers tokens`: who may call the internal API."""

from datetime import UTC, datetime

import click

from mailworkers.cli.acting import actor, connected, dry_options, reason_option, yes_option
from mailworkers.cli.composing import parse_when
from mailworkers.cli.output import json_option, local_time, print_json
from mailworkers.cli.tables import print_table

SCOPES = ("intake", "read", "operate", "admin")


@click.group()
def tokens() -> None:
    """Make, see and revoke the tokens of the internal API.

    While there are none the API serves programs of this host only; from the first one on, even one
    that was revoked, every caller needs a token.
    """


@tokens.command()
@click.argument("name")
@click.option(
    "--scope",
    "scopes",
    type=click.Choice(SCOPES),
    multiple=True,
    required=True,
    help="intake: put mail in. read: see it. operate: change it. admin: read auth mail.",
)
@click.option("--until", metavar="WHEN", help="2027-01-31T08:00:00Z, or +90d; else for ever.")
@reason_option
@json_option
def create(
    *, name: str, scopes: tuple[str, ...], until: str | None, reason: str, as_json: bool
) -> None:
    """Make a token called NAME and print it: it is not stored and cannot be shown again."""
    from mailworkers.adapters.store.tokens import add_token

    if not name.isprintable() or not 0 < len(name.strip()) == len(name) <= 100:
        raise click.UsageError("a name is 1 to 100 printable characters")
    ends = parse_when(until, datetime.now(UTC)) if until else None
    with connected("tokens create") as conn:
        made = add_token(
            conn, name=name, scopes=scopes, expires_at=ends, actor=actor(), reason=reason
        )
    if made is None:
        raise click.ClickException(
            f"the name {name!r} is taken, for ever, even if its token was revoked: choose another"
        )
    text, token = made
    if as_json:
        print_json({"token": text, "name": token.name, "scopes": token.scopes})
    else:
        click.echo(text)
        click.echo(f"keep it: nothing can show it again. It may {', '.join(scopes)}.", err=True)


@tokens.command("list")
@json_option
def list_(*, as_json: bool) -> None:
    """Show every token that was ever made, without its text."""
    from mailworkers.adapters.store.tokens import describe_tokens

    with connected("tokens list") as conn:
        found = describe_tokens(conn)
    if as_json:
        print_json(found)
    elif found:
        rows = [
            (
                token.name,
                ", ".join(token.scopes),
                local_time(token.created_at),
                local_time(token.expires_at),
                local_time(token.revoked_at),
            )
            for token in found
        ]
        print_table(("name", "may", "made", "until", "revoked"), rows)
    else:
        click.echo("there are no tokens: the API serves programs of this host only")


@tokens.command()
@click.argument("name")
@dry_options
@yes_option
@json_option
def revoke(*, name: str, reason: str, is_dry: bool, is_sure: bool, as_json: bool) -> None:
    """End the token NAME: within a second no API process takes it any more."""
    from mailworkers.adapters.store.tokens import describe_tokens, revoke_token

    if is_dry:
        with connected("tokens revoke") as conn:
            living = [it for it in describe_tokens(conn) if it.name == name and not it.revoked_at]
        if as_json:
            print_json({"would_revoke": living})
            return
        for found in living:
            click.echo(f"{name} would be revoked; it may {', '.join(found.scopes)}")
        return
    if not is_sure:
        click.confirm(f"revoke the token {name!r}? Its callers are refused", abort=True, err=True)
    with connected("tokens revoke") as conn:
        ended = revoke_token(conn, name, actor=actor(), reason=reason)
    if ended is None:
        raise click.ClickException(f"there is no living token {name!r}: `mailworkers tokens list`")
    if as_json:
        print_json(ended)
    else:
        click.echo(f"{name} is revoked")
