"""`mailworkers dkim`: keys made, their DNS records printed, published ones compared."""

import sys
from pathlib import Path

import click

from mailworkers.cli.output import json_option, print_facts, print_json
from mailworkers.core.dkim import Algorithm, check_selector, parse_domain
from mailworkers.core.dkim_records import PublicKey, Record, record_for
from mailworkers.core.errors import ConfigError, MailworkersError

STANDARD_DIRECTORY = Path("/etc/mailworkers/dkim")


class Domain(click.ParamType[str]):
    """A domain name; an internationalised one becomes A-labels."""

    name = "domain"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the domain in lower case."""
        try:
            return parse_domain(value)
        except ValueError as error:
            self.fail(f"{value!r} {error}", param, ctx)


class Selector(click.ParamType[str]):
    """A selector, such as `s2026a`."""

    name = "selector"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the selector as it is."""
        try:
            check_selector(value)
        except ValueError as error:
            self.fail(f"{value!r} {error}", param, ctx)
        return value


directory_option = click.option(
    "--directory",
    type=click.Path(file_okay=False, path_type=Path),
    envvar="MAIL_DKIM_DIR",
    default=STANDARD_DIRECTORY,
    show_default=True,
    show_envvar=True,
    help="Where keys are: DOMAIN/SELECTOR.pem below it.",
)


@click.group()
def dkim() -> None:
    """Sign mail: make keys, print their DNS records, compare what is published.

    A key signs when MAIL_DKIM_SELECTORS names it, not before; docs/dkim.md has the whole way.
    """


@dkim.command()
@click.option("--domain", type=Domain(), required=True, help="Domain that signs.")
@click.option("--selector", type=Selector(), required=True, help="Name of the key: s2026a.")
@click.option(
    "--algorithm",
    type=click.Choice([algorithm.value for algorithm in Algorithm]),
    default=Algorithm.RSA.value,
    show_default=True,
    help="Every receiver knows rsa; ed25519 is for a second signature.",
)
@click.option(
    "--bits",
    type=click.IntRange(2048, 4096),
    default=2048,
    show_default=True,
    help="Size of an RSA key.",
)
@directory_option
@json_option
def keygen(
    *, domain: str, selector: str, algorithm: str, bits: int, directory: Path, as_json: bool
) -> None:
    """Make a key, in a file that only its owner can read, and print the record to publish.

    A file that exists is never overwritten. Nothing is signed with the new key until
    MAIL_DKIM_SELECTORS names it: publish the record first, then look with `mailworkers dkim check`.
    """
    from mailworkers.adapters.dkim_keys import key_path, make_key, write_key

    path = key_path(directory, domain, selector)
    try:
        write_key(path, make_key(Algorithm(algorithm), bits))
    except FileExistsError:
        raise MailworkersError(
            f"{path} exists and is not overwritten: choose another --selector"
        ) from None
    except OSError as error:
        raise MailworkersError(f"{path} cannot be written ({error.strerror})") from None
    record = record_for(domain, selector, _public(path, domain, selector))
    if as_json:
        print_json({"key": path, **_described(record)})
        return
    click.echo(f"wrote {path}, readable for this account only: the roles must be able to read it")
    click.echo("publish this record; as a zone file has it:\n")
    _print_record(record)
    click.echo(f"\nthen: mailworkers dkim check {domain} --selector {selector}")
    click.echo(f"then: add {domain}:{selector} to MAIL_DKIM_SELECTORS, restart consumer and api")


@dkim.command()
@click.argument("domain", type=Domain())
@click.argument("selector", type=Selector())
@click.option(
    "--key",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File of the key, if it is not in the directory.",
)
@directory_option
@json_option
def record(*, domain: str, selector: str, key: Path | None, directory: Path, as_json: bool) -> None:
    """Print the TXT record of a key: as a zone file has it, and as one text for a form.

    No string of a record may be over 255 bytes, so that in a zone file a long key stands in
    several; a provider's form takes the text as a whole.
    """
    from mailworkers.adapters.dkim_keys import key_path

    path = key or key_path(directory, domain, selector)
    made = record_for(domain, selector, _public(path, domain, selector))
    if as_json:
        print_json(_described(made))
    else:
        _print_record(made)


@dkim.command()
@click.argument("domain", type=Domain(), required=False)
@click.option("--selector", type=Selector(), help="A key of DOMAIN that need not sign yet.")
@directory_option
@click.option("--nameserver", metavar="ADDRESS[:PORT]", help="Ask this one, not the system's.")
@click.option(
    "--timeout",
    type=click.FloatRange(0.1, 60),
    default=5,
    show_default=True,
    help="Seconds to wait for one answer.",
)
@json_option
def check(
    *,
    domain: str | None,
    selector: str | None,
    directory: Path,
    nameserver: str | None,
    timeout: float,
    as_json: bool,
) -> None:
    """Compare the keys that sign, all or those of DOMAIN, with what the DNS says.

    Exit code 0: receivers can verify every signature. 1: not so, or nobody could tell. 78: a key
    cannot be used, or nothing is signed.
    """
    if selector is not None and domain is None:
        raise click.UsageError("--selector needs DOMAIN before it")
    from mailworkers.cli.dkim_check import check_keys, print_checked, resolver_for

    results = []
    for checked in check_keys(directory, domain, selector, resolver_for(nameserver, timeout)):
        results.append(checked)
        if not as_json:
            print_checked(checked)
    ok = all(result.ok for result in results)
    if as_json:
        print_json({"ok": ok, "keys": results})
    sys.exit(0 if ok else 1)


def _public(path: Path, domain: str, selector: str) -> PublicKey:
    from mailworkers.adapters.dkim_keys import load_key

    try:
        return load_key(path, domain, selector).public
    except ValueError as error:
        raise ConfigError(str(error)) from None


def _described(record: Record) -> dict[str, object]:
    return {
        "name": record.name,
        "type": "TXT",
        "text": record.text,
        "pieces": record.pieces,
        "zone_line": record.zone_line,
    }


def _print_record(record: Record) -> None:
    click.echo(record.zone_line)
    click.echo("")
    print_facts([("name", record.name), ("type", "TXT"), ("text", record.text)])
