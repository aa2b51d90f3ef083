"""Whether receivers can verify what we sign: each key compared with what the DNS says of it."""

import os
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import click
import msgspec

from mailworkers.adapters.dkim_dns import Lookup, resolver
from mailworkers.adapters.dkim_keys import KeyFile, key_path, load_key, load_keys
from mailworkers.adapters.settings import Settings, load
from mailworkers.cli.commands import UNUSED
from mailworkers.cli.output import printable
from mailworkers.core.dkim import Algorithm, record_name
from mailworkers.core.dkim_records import Judgement, Published, judge_published
from mailworkers.core.errors import ConfigError

_SELECTORS = "MAIL_DKIM_SELECTORS"


class Checked(msgspec.Struct, frozen=True):
    """One key and what is published for it; *ok* when receivers can verify what it signs.

    *in_use*: MAIL_DKIM_SELECTORS names it.
    """

    domain: str
    selector: str
    algorithm: Algorithm
    name: str
    in_use: bool
    ok: bool
    found: Published
    detail: str
    advice: str


def check_keys(
    directory: Path, domain: str | None, selector: str | None, look_up: Lookup
) -> Iterator[Checked]:
    """Yield the keys that sign, all or those of *domain*, or the one *selector* that need not.

    Of the settings only those of signing must be there; *directory* stands for MAIL_DKIM_DIR.
    """
    selectors = os.environ.get(_SELECTORS, "")
    if not selectors and selector is None:
        raise ConfigError(f"{_SELECTORS} is not set: nothing is signed")
    settings = load({**UNUSED, _SELECTORS: selectors, "MAIL_DKIM_DIR": str(directory)})
    for key in _chosen(settings, domain, selector):
        in_use = key.signing.selector in settings.dkim_selectors.get(key.signing.domain, ())
        yield _checked(key, look_up, in_use=in_use)


def _chosen(settings: Settings, domain: str | None, selector: str | None) -> tuple[KeyFile, ...]:
    """Return the keys to look for: one by its file, those of a domain, or all that sign."""
    directory = settings.dkim_dir or Path()
    if selector is not None and domain is not None:
        try:
            return (load_key(key_path(directory, domain, selector), domain, selector),)
        except ValueError as error:
            raise ConfigError(str(error)) from None
    chosen = settings.dkim_selectors
    if domain is not None:
        chosen = {name: selectors for name, selectors in chosen.items() if name == domain}
    if not chosen:
        raise ConfigError(f"{_SELECTORS} names no key{f' of {domain}' if domain else ''}")
    return load_keys(directory, chosen).files


def resolver_for(nameserver: str | None, timeout: float) -> Lookup:
    """Return what looks names up, as the options say."""
    try:
        return resolver(nameserver, within=timedelta(seconds=timeout))
    except ValueError as error:
        raise click.UsageError(f"--nameserver {nameserver!r}: {error}") from None


def _checked(key: KeyFile, look_up: Lookup, *, in_use: bool) -> Checked:
    signing = key.signing
    name = record_name(signing.domain, signing.selector)
    answer = look_up(name)
    if answer.trouble:
        advice = "try again, or ask another one by --nameserver"
        judgement = Judgement(Published.UNAVAILABLE, answer.trouble, advice)
    else:
        judgement = judge_published(answer.texts, key.public)
    return Checked(
        domain=signing.domain,
        selector=signing.selector,
        algorithm=signing.algorithm,
        name=name,
        in_use=in_use,
        ok=judgement.found is Published.OK,
        found=judgement.found,
        detail=judgement.detail or _praise(key),
        advice=judgement.advice,
    )


def _praise(key: KeyFile) -> str:
    published = f"this {key.signing.algorithm} key is published"
    return f"{published}, but it {key.doubt}" if key.doubt else published


def print_checked(checked: Checked) -> None:
    """Print *checked*: ok, or what is wrong and what to do."""
    for line in _lines(checked):
        click.echo(line)


def _lines(checked: Checked) -> Iterator[str]:
    mark = click.style("ok  ", fg="green") if checked.ok else click.style("FAIL", fg="red")
    yield f"{mark}  {checked.name}  {printable(checked.detail)}"
    if not checked.in_use:
        yield "      it does not sign: MAIL_DKIM_SELECTORS does not name it"
    if checked.advice:
        yield f"      -> {checked.advice}"
