"""`mailworkers completion`: commands, options and values at the press of a key."""

import os
from pathlib import Path

import click
from click.shell_completion import CompletionItem, get_completion_class

PROGRAM, VARIABLE = "mailworkers", "_MAILWORKERS_COMPLETE"
SHELLS = ("bash", "zsh", "fish")


@click.command()
@click.argument("shell", type=click.Choice(SHELLS))
def completion(*, shell: str) -> None:
    """Print what makes a shell complete our commands.

    Commands, options, lanes, statuses, sources and template ids are completed.

    \b
    bash:  mailworkers completion bash > ~/.local/share/bash-completion/completions/mailworkers
    zsh:   mailworkers completion zsh > "${fpath[1]}/_mailworkers"
    fish:  mailworkers completion fish > ~/.config/fish/completions/mailworkers.fish
    """
    found = get_completion_class(shell)
    program = click.get_current_context().find_root().command
    if found is None:
        raise click.ClickException(f"nothing is known of {shell}: {', '.join(SHELLS)}")
    click.echo(found(program, {}, PROGRAM, VARIABLE).source())


def complete_template(
    _context: click.Context, _parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Return the templates of this host's catalog whose ids begin with *incomplete*."""
    from mailworkers.adapters.catalog import packaged_directory

    place = Path(os.environ.get("MAIL_TEMPLATE_DIR") or packaged_directory())
    try:
        names = sorted(path.parent.name for path in place.glob("*/contract.toml"))
    except OSError:
        return []
    return [CompletionItem(name) for name in names if name.startswith(incomplete)]


def complete_source(
    _context: click.Context, _parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Return the sources that this host's settings name and that begin with *incomplete*."""
    from mailworkers.adapters.setting_forms import sources
    from mailworkers.core.commands import SOURCES

    try:
        names = sorted({*SOURCES, *sources(os.environ.get("MAIL_SOURCES", ""))})
    except ValueError:
        names = sorted(SOURCES)
    return [CompletionItem(name) for name in names if name.startswith(incomplete)]
