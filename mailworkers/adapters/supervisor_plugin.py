"""A plugin inside supervisord: when it shuts down, every role is told to stop at once.

By itself supervisord stops one program after the other and waits for each. Sixteen senders that
each wait for a slow relay's last answer would take sixteen times as long as one.
"""

from typing import Any

from supervisor.events import (  # type: ignore[import-untyped]
    SupervisorStoppingEvent,
    subscribe,
)

from mailworkers.adapters.supervisor_files import role_of


class _Roles:
    """All groups of roles as if they were one, in the list of groups to stop."""

    def __init__(self, groups: list[Any]) -> None:
        self._groups = groups

    def stop_all(self) -> None:
        for group in self._groups:
            group.stop_all()

    def get_unstopped_processes(self) -> list[Any]:
        return [process for group in self._groups for process in group.get_unstopped_processes()]


class _NoMethods:
    """supervisord wants an object whose methods become remote calls; there are none."""


def stop_roles_together(supervisord: Any, **_: str) -> _NoMethods:
    """Subscribe to the start of supervisord's shutdown (an `rpcinterface_factory`).

    The list of groups to stop, the last one first, is made by then. The servers that roles need
    (embedded stores, mailbox) are not roles: they stop after them, by their priorities.
    """

    def join_roles(_: object) -> None:
        groups = supervisord.stop_groups
        roles = [group for group in groups if role_of(group.config.name)]
        others = [group for group in groups if not role_of(group.config.name)]
        supervisord.stop_groups = [*others, _Roles(roles)]

    subscribe(SupervisorStoppingEvent, join_roles)
    return _NoMethods()
