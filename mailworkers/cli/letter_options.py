"""The options by which commands say which dead letters they mean."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

import click

from mailworkers.cli.completion import complete_source, complete_template
from mailworkers.cli.composing import canonical_of, parse_when
from mailworkers.core.states import Lane

if TYPE_CHECKING:
    from mailworkers.adapters.store.dead_letters import DeadLetterFilter

Command = TypeVar("Command", bound=Callable[..., Any])
_CAUSES = ("permanent", "expired", "poison", "exhausted")


def wanted_options(command: Command) -> Command:
    """Give *command* the options that say which dead letters are meant."""
    for decorate in (
        click.option("--until", metavar="WHEN", help="Ended before then."),
        click.option("--since", metavar="WHEN", help="Ended then or later: -2h, or a time."),
        click.option("--template", metavar="ID", shell_complete=complete_template),
        click.option("--recipient", metavar="ADDRESS", help="In whatever form."),
        click.option(
            "--lane", "lanes", multiple=True, type=click.Choice([lane.label for lane in Lane])
        ),
        click.option(
            "--source", "sources", multiple=True, metavar="NAME", shell_complete=complete_source
        ),
        click.option("--cause", "causes", multiple=True, type=click.Choice(_CAUSES)),
    ):
        command = decorate(command)
    return command


def filter_of(
    *,
    causes: tuple[str, ...],
    sources: tuple[str, ...],
    lanes: tuple[str, ...],
    recipient: str | None,
    template: str | None,
    since: str | None,
    until: str | None,
    is_resolved: bool | None,
    numbers: tuple[int, ...] = (),
) -> "DeadLetterFilter":
    """Return which dead letters the options mean."""
    from mailworkers.adapters.store.dead_letters import Cause, DeadLetterFilter

    now = datetime.now(UTC)
    return DeadLetterFilter(
        causes=tuple(map(Cause, causes)),
        sources=sources,
        lanes=lanes,
        recipient=canonical_of(recipient) if recipient else None,
        template_id=template,
        created_from=parse_when(since, now) if since else None,
        created_to=parse_when(until, now) if until else None,
        is_resolved=is_resolved,
        dead_letter_ids=numbers,
    )
