"""Options that several commands have in common, given to each in one go."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

Command = TypeVar("Command", bound=Callable[..., Any])


def with_options(command: Command, options: Sequence[Callable[[Command], Command]]) -> Command:
    """Give *command* these *options*; its help shows them in this order."""
    for option in reversed(options):
        command = option(command)
    return command
