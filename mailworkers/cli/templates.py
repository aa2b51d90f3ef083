"""`mailworkers templates`: the catalog of templates, for those who write them."""

import os
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NoReturn

import click

from mailworkers.cli.completion import complete_template
from mailworkers.cli.main import Failure
from mailworkers.cli.output import json_option, print_facts, print_json, printable
from mailworkers.cli.reaching import api_option, api_url, read_token
from mailworkers.cli.tables import print_table
from mailworkers.core.counts import plural

if TYPE_CHECKING:
    from mailworkers.adapters.catalog import Catalog, CatalogTemplate
    from mailworkers.cli.previewing import Preview
    from mailworkers.cli.remote_templates import RemoteCatalog

EXIT_CONFIG = 78
DIRECTORY = click.Path(file_okay=False, path_type=Path)
directory_option = click.option(
    "--dir", "directory", type=DIRECTORY, help="Catalog, instead of MAIL_TEMPLATE_DIR."
)


@click.group()
def templates() -> None:
    """Look at the templates, check them, see what they make.

    The catalog is that of MAIL_TEMPLATE_DIR, or the one that comes with mailworkers. No store and
    no relay is needed. With --api it is the one that the API serves, unless --dir names another.
    """


@templates.command(name="list")
@directory_option
@api_option
@json_option
def list_(*, directory: Path | None, as_json: bool) -> None:
    """Show every template: its languages, its kind of mail and its variables.

    Variables without an asterisk may be left out.
    """
    found = _list(directory)
    if as_json:
        print_json(found)
        return
    columns = ("template", "languages", "lane", "variables", "what it is for")
    print_table(
        columns,
        map(_row, found),
        whole=("template",),
        wrapped=("what it is for",),
        spare=("lane",),
    )


@templates.command()
@click.argument("directory", type=DIRECTORY, required=False)
@json_option
def check(*, directory: Path | None, as_json: bool) -> None:
    """Say all that is wrong with a catalog, each with its file and line.

    DIRECTORY is the catalog's folder. Every page is rendered with its samples, too. Exit code 78
    when something is wrong: roles would refuse to start. Warnings change no exit code.
    """
    from mailworkers.adapters.catalog import examine

    place = _place(directory)
    catalog, problems = examine(place)
    errors = sum(not problem.is_warning for problem in problems)
    if as_json:
        print_json({"ok": not errors, "directory": place, "problems": problems})
    else:
        for problem in sorted(problems, key=lambda p: (p.is_warning, p.file, p.line)):
            kind = "warning" if problem.is_warning else "error"
            where = f"{place / problem.file}:{problem.line}"
            click.echo(printable(f"{where}: {kind}: {problem.reason}"))
        pages = sum(len(t.pages) for t in catalog.templates.values()) if catalog else 0
        counts = {"template": len(catalog.templates), "page": pages} if catalog else {}
        counts |= {"error": errors, "warning": len(problems) - errors}
        click.echo(", ".join(plural(number, noun) for noun, number in counts.items()))
    sys.exit(EXIT_CONFIG if errors else 0)


@templates.command()
@click.argument("template_id", shell_complete=complete_template)
@click.option("--locale", default=None, help="Language, e.g. pt-BR; else the catalog's default.")
@click.option("--all", "every", is_flag=True, help="All languages of the template.")
@click.option("--variables", type=click.File("rb"), help="JSON object; - is standard input.")
@click.option("--output", type=DIRECTORY, help="Write pages, texts, messages and an index there.")
@click.option("--browser", is_flag=True, help="Show all of it in the browser.")
@directory_option
@api_option
@json_option
def preview(*, template_id: str, every: bool, as_json: bool, **options: Any) -> None:
    """Make the message of a template, as intake makes it, and show it.

    Variables that are not given have the values of their samples. Without --output and --browser
    the plain text is printed, with what mailboxes judge by: sizes, subject, list headers.

    \b
    mailworkers templates preview welcome --all
    mailworkers templates preview receipt --locale de --variables order.json --browser
    """
    from mailworkers.cli.previewing import write_previews

    previews = _make(
        template_id, options["locale"], options["variables"], options["directory"], every=every
    )
    target = options["output"]
    if options["browser"] and target is None:
        target = Path(tempfile.mkdtemp(prefix="mailworkers-preview-"))
    files = write_previews(previews, target) if target is not None else []
    _show(previews, files, as_json=as_json)
    if options["browser"] and click.launch(files[-1].as_uri()) != 0:
        raise Failure(f"no browser could be started; the page is {files[-1]}")


def _list(directory: Path | None) -> list[dict[str, Any]]:
    """Return the facts of every template, of the files here or of what the API serves."""
    with _remote(directory) as remote:
        if remote is not None:
            from mailworkers.cli.remote_templates import facts_of

            return [facts_of(template) for template in remote.all()]
    return [_facts(template) for template in _load(directory).templates.values()]


def _make(
    template_id: str,
    locale: str | None,
    given: IO[bytes] | None,
    directory: Path | None,
    *,
    every: bool,
) -> "list[Preview]":
    """Return the previews that are asked for, of the files here or of what the API serves."""
    from mailworkers.cli.previewing import fetch_previews, make_previews

    with _remote(directory) as remote:
        if remote is not None:
            template = remote.find(template_id) or _unknown(
                template_id, [one.template_id for one in remote.all()]
            )
            return fetch_previews(
                remote, template, list(template.locales) if every else [locale], given
            )
    catalog = _load(directory)
    if template_id not in catalog.templates:
        _unknown(template_id, catalog.templates)
    locales = (
        list(catalog.templates[template_id].pages) if every else [locale or catalog.default_locale]
    )
    return make_previews(catalog, template_id, locales, given)


def _unknown(template_id: str, known: Iterable[str]) -> NoReturn:
    raise click.UsageError(f"there is no template {template_id!r}; there are: {', '.join(known)}")


@contextmanager
def _remote(directory: Path | None) -> "Iterator[RemoteCatalog | None]":
    """Yield the catalog of the API that is to be asked; None: the files here are meant."""
    url = api_url() if directory is None else None
    if url is None:
        yield None
        return
    from mailworkers.cli.remote_templates import RemoteCatalog

    catalog = RemoteCatalog(url, read_token())
    try:
        yield catalog
    finally:
        catalog.close()


def _show(previews: "list[Preview]", files: list[Path], *, as_json: bool) -> None:
    if as_json:
        print_json({"previews": [one.facts for one in previews], "files": files})
    elif files:
        for file in files:
            click.echo(str(file))
    else:
        for one in previews:
            print_facts(one.facts.items())
            click.echo(f"\n{_plain(one.text)}\n")


def _plain(text: str) -> str:
    """Return *text* with its lines, and nothing in them that a terminal would obey."""
    return "\n".join(printable(line) for line in text.splitlines())


def _place(directory: Path | None) -> Path:
    from mailworkers.adapters.catalog import packaged_directory

    if directory is not None:
        return directory
    return Path(os.environ.get("MAIL_TEMPLATE_DIR") or packaged_directory())


def _load(directory: Path | None) -> "Catalog":
    from mailworkers.adapters.catalog import Catalog

    return Catalog.load(_place(directory))


def _row(facts: dict[str, Any]) -> tuple[str, ...]:
    variables = facts["variables"].items()
    return (
        facts["template_id"],
        " ".join(facts["locales"]),
        facts["lane"] or "",
        " ".join(f"{name}{'*' if variable['is_required'] else ''}" for name, variable in variables),
        facts["description"],
    )


def _facts(template: "CatalogTemplate") -> dict[str, Any]:
    contract, mail = template.contract, template.contract.mail
    return {
        "template_id": template.template_id,
        "version": template.version,
        "description": contract.description,
        "locales": list(template.pages),
        "lane": mail.lane.label if mail.lane is not None else None,
        "from": mail.sender,
        "reply_to": mail.reply_to,
        "expires_after_seconds": mail.expires_after and mail.expires_after.total_seconds(),
        "headers": dict(mail.headers),
        "unsubscribe": contract.unsubscribe,
        "variables": {
            name: {"is_required": variable.is_required, "variable": variable}
            for name, variable in contract.variables.items()
        },
    }
