"""`mailworkers doctor`: everything a role needs, looked at in the order in which it needs it."""

import os
import sys
from collections.abc import Iterator

import click

from mailworkers.cli.findings import Finding, fine, wrong
from mailworkers.cli.output import json_option, print_json, printable
from mailworkers.core.errors import ConfigError


@click.command()
@json_option
def doctor(*, as_json: bool) -> None:
    """Find what is wrong and say what to do: settings, stores, relay, templates, what runs.

    The relay is asked up to MAIL FROM, which is taken back: no mail is sent. Each line is ok, or
    the reason and what to do; exit code 1 when something is not ok.
    """
    findings = []
    for finding in _findings():
        findings.append(finding)
        if not as_json:
            _print(finding)
    if as_json:
        print_json({"ok": all(finding.ok for finding in findings), "checks": findings})
    sys.exit(0 if all(finding.ok for finding in findings) else 1)


def _findings() -> Iterator[Finding]:
    from mailworkers.adapters.settings import load
    from mailworkers.cli.checks import examine

    try:
        settings = load(os.environ)
    except ConfigError as error:
        for line in str(error).splitlines():
            yield wrong("settings", line)
        return
    yield fine("settings", f"{len(settings.masked())} in force")
    for warning in settings.warnings:
        yield fine("settings", f"doubtful: {warning}")
    yield from examine(settings)


def _print(finding: Finding) -> None:
    mark = click.style("ok  ", fg="green") if finding.ok else click.style("FAIL", fg="red")
    click.echo(f"{mark}  {finding.check:<18} {printable(finding.detail)}")
    if not finding.ok and finding.advice:
        click.echo(f"{'':<24} -> {finding.advice}")
