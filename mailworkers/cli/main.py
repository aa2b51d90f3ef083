"""`mailworkers`: one command with everything below it, each part imported only when asked for.

A sender imports click and the sender, not the web framework: the table in `sections.py` names
modules, and `Program` imports one when its command is called.
"""

import os
from importlib import import_module

import click
from click.shell_completion import CompletionItem

from mailworkers import __version__
from mailworkers.cli.sections import SECTIONS
from mailworkers.core.errors import (
    ApiRefused,
    ApiUnavailable,
    ConfigError,
    MailworkersError,
    SchemaTooNew,
    StoreUnavailable,
)

EXIT_CODES = """\b
Exit codes:
   0  done
   1  it failed at run time; the last line says why
   2  the command line is wrong
  78  a setting, a template or the schema is wrong: correct it, retrying does not help
"""


class Failure(click.ClickException):
    """What went wrong at run time, one line each."""

    def show(self, file: object = None) -> None:  # noqa: ARG002  click's signature
        """Print each line of the message on standard error."""
        for line in self.message.splitlines():
            click.echo(f"mailworkers: {line}", err=True)


class Misconfigured(Failure):
    """What must be corrected first; this code tells supervisord not to try again."""

    exit_code = 78


class Program(click.Group):
    """A group whose commands are imported when they are called, and whose errors are one line."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  click's signature
        """Return every name, in the order of the help."""
        return [name for section in SECTIONS.values() for name in section]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import and return the command *cmd_name*."""
        for section in SECTIONS.values():
            if cmd_name in section:
                place, _ = section[cmd_name]
                return _import(place)
        return None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Write the commands by section."""
        for title, section in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(name, text) for name, (_, text) in section.items()])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Return the commands and options that begin with *incomplete*."""
        commands = [
            CompletionItem(name, help=text)
            for section in SECTIONS.values()
            for name, (_, text) in section.items()
            if name.startswith(incomplete)
        ]
        return [*commands, *click.Command.shell_complete(self, ctx, incomplete)]

    def invoke(self, ctx: click.Context) -> object:
        """Run the command; our own errors become lines and exit codes."""
        try:
            return super().invoke(ctx)
        except click.NoSuchOption as error:
            if error.option_name != "--api":
                raise
            raise click.UsageError(_only_here(ctx.invoked_subcommand), error.ctx) from error
        except (ConfigError, SchemaTooNew) as error:
            lines = [str(error)]
            if ctx.invoked_subcommand in _HOST_ONLY and os.environ.get("MAIL_API_URL"):
                lines.append(f"MAIL_API_URL is set, but {_only_here(ctx.invoked_subcommand)}")
            raise Misconfigured("\n".join(lines)) from error
        except StoreUnavailable as error:
            raise Failure(f"{error}\n`mailworkers doctor` says more") from error
        except (ApiRefused, ApiUnavailable) as error:
            from mailworkers.cli.reaching import next_step

            raise Failure(next_step(error)) from error
        except MailworkersError as error:
            raise Failure(str(error)) from error


# Who needs the settings of the host, whatever MAIL_API_URL says.
_HOST_ONLY = frozenset({"tokens", "migrate", "scale", "restart", "supervise", "shell"})
# What elsewhere helps instead of a command that is about its host.
_INSTEAD = {
    "tokens": "so that no token can make another, they are made there",
    "templates": "it reads the files there; `mailworkers templates list` shows what the API serves",
    "doctor": "it tries what the host reaches; `mailworkers status` says what the API sees",
    "config": "it shows the settings there; `mailworkers status` says what works with them",
}


def _only_here(command: str | None) -> str:
    instead = _INSTEAD.get(command or "", "it is about the processes and files there")
    return f"this one does not work through the API but on a host of the installation: {instead}"


def _import(place: str) -> click.Command:
    module, _, name = place.partition(":")
    command = getattr(import_module(f"mailworkers.cli.{module}"), name)
    if not isinstance(command, click.Command):
        raise TypeError(f"{place} is not a command")
    return command


@click.group(
    cls=Program,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=EXIT_CODES,
)
@click.version_option(__version__, prog_name="mailworkers")
def main() -> None:
    """Durable mail delivery: commands come in by Redis or HTTP, Postgres keeps them, SMTP sends.

    Settings are environment variables: `mailworkers config` shows them all. `mailworkers up` runs
    everything here with its own database, to try it out.
    """
    if os.environ.get("NO_COLOR"):
        click.get_current_context().color = False
