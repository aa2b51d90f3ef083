"""What a drill takes on this machine, and what to do where it is missing."""

import os
import shutil
import tempfile
from pathlib import Path

from mailworkers.core.errors import MailworkersError
from mailworkers.embedded.account import servers_account
from mailworkers.embedded.binaries import ServersMissing, Source, find_binaries
from mailworkers.gameday.clocks import find_library
from mailworkers.gameday.drills.catalog import Drill, Need

_CAN_ADMINISTER = 1 << 21  # CAP_SYS_ADMIN


class CannotRun(MailworkersError):  # noqa: N818  it names the condition
    """Something a drill takes is missing; the message says what to do next."""


def lacks(drill: Drill, source: str = "auto") -> list[str]:
    """Return what *drill* misses here, each with the next step; nothing when it can be run."""
    found = [lacks_stores(source), *map(_lack_of, drill.needs)]
    return [line for line in found if line]


def check(drill: Drill, source: str = "auto") -> None:
    """Raise CannotRun when *drill* misses something here."""
    if missing := lacks(drill, source):
        raise CannotRun(f"{drill.name} cannot be run here: {'; '.join(missing)}")


def has_prometheus() -> bool:
    """Whether a Prometheus can be started here."""
    return shutil.which("prometheus") is not None


def lacks_stores(source: str) -> str:
    """Return what is missing for stores of our own, "" when nothing is."""
    try:
        with tempfile.TemporaryDirectory() as refuge:
            find_binaries(Source(source), servers_account(), Path(refuge))
    except (ServersMissing, LookupError, OSError) as error:
        return str(error)
    return ""


def _lack_of(need: Need) -> str:
    match need:
        case Need.ROOT:
            return "" if os.geteuid() == 0 else "needs root: run it with sudo"
        case Need.MOUNT:
            can = shutil.which("mount") and _may_administer()
            return "" if can else "needs the right to mount (CAP_SYS_ADMIN): not in this container"
        case Need.FAKETIME:
            return "" if find_library() else "needs libfaketime: apt-get install faketime"
        case Need.NETWORK:
            if not (shutil.which("ip") and shutil.which("unshare") and shutil.which("nsenter")):
                return "needs ip, unshare, nsenter: apt-get install iproute2 util-linux"
            can = _may_administer()
            return "" if can else "needs CAP_SYS_ADMIN and CAP_NET_ADMIN: not in this container"


def _may_administer() -> bool:
    """Whether this process holds CAP_SYS_ADMIN."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapEff:"):
            return bool(int(line.split()[1], 16) & _CAN_ADMINISTER)
    return False
