"""Which act belongs to which drill."""

from collections.abc import Callable
from functools import partial

from mailworkers.gameday.drills import acts, disks, split
from mailworkers.gameday.drills.catalog import Drill

ACTS: dict[str, Callable[[], acts.Act]] = {
    "redis-outage": partial(acts.StoreOutage, "redis"),
    "postgres-outage": partial(acts.StoreOutage, "postgres"),
    "relay-stall": acts.RelayStall,
    "relay-refuses-logins": acts.RelayRefusesLogins,
    "role-deaths": acts.RoleDeaths,
    "journal-disk-full": disks.JournalDiskFull,
    "database-disk-full": disks.DatabaseDiskFull,
    "clock-step": acts.ClockStep,
    "host-split": split.HostSplit,
}


def act_of(drill: Drill) -> acts.Act:
    """Return the act of *drill*, new."""
    return ACTS[drill.name]()
