"""`mailworkers config`: every setting in force, masked, and where it came from."""

import os

import click

from mailworkers.cli.output import json_option, print_json
from mailworkers.cli.tables import print_table


@click.command()
@json_option
@click.option("--reference", is_flag=True, help="Print what each setting means, as Markdown.")
def config(*, as_json: bool, reference: bool) -> None:
    """Show the settings in force, secrets masked; exit 78 when they cannot work.

    Warnings (unknown or retired names, settings that are probably not meant) go to standard error.
    """
    if reference:
        click.echo(reference_tables(), nl=False)
        return
    from mailworkers.adapters.settings import load

    settings = load(os.environ)
    for warning in settings.warnings:
        click.echo(f"warning: {warning}", err=True)
    if as_json:
        print_json(
            [
                {"name": name, "value": value, "origin": origin}
                for name, value, origin in settings.masked()
            ]
        )
    else:
        print_table(
            ("setting", "value", "from"), settings.masked(), whole=("setting",), wrapped=("value",)
        )


def reference_tables() -> str:
    """Return the reference of all settings: a Markdown table for each section."""
    from mailworkers.adapters.setting_table import SECTIONS

    parts = []
    for title, section in SECTIONS.items():
        parts.append(f"## {title}\n\n| variable | default | meaning |\n| --- | --- | --- |\n")
        for setting in section:
            default = f"`{setting.default}`" if setting.default else setting.computed
            if setting.default is None:
                default = f"**required** (or {setting.computed})" if default else "**required**"
            parts.append(f"| `{setting.name}` | {default} | {setting.means} |\n")
        parts.append("\n")
    return "".join(parts).rstrip("\n") + "\n"
