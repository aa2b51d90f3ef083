"""What happens to supervisord: killed and started again as systemd does; senders scaled live."""

import time
import xmlrpc.client
from pathlib import Path
from typing import Any

from mailworkers.adapters.supervisor import ProcessFailed, SupervisorUnavailable
from mailworkers.gameday.plan import Fault
from mailworkers.gameday.service import LEASE, SHUTDOWN_TIMEOUT, Service
from mailworkers.gameday.store_faults import PATIENCE, PAUSE

# Its children are told to end when it dies; one that is frozen can only after it was thawed.
_LONGEST_ORPHAN = LEASE + SHUTDOWN_TIMEOUT + 5


class SupervisorFaults:
    """Faults of supervisord, done one after the other; the thread that does them must live on."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def do(self, fault: Fault) -> dict[str, Any]:
        """Kill it, or scale the senders."""
        if fault.action == "scale":
            return self._scale(fault.about["senders"])
        return self._kill(fault.about["down"])

    def _kill(self, down: float) -> dict[str, Any]:
        """Kill it and start it again; say which of its children live still long after."""
        children = self._service.pids()
        born = {child: birth for child in children.values() if (birth := _birth(child))}
        pid = self._service.host.kill()
        died = time.monotonic()
        time.sleep(down)
        self._service.host.start()
        left = dict(born)
        while left and time.monotonic() < died + _LONGEST_ORPHAN:
            left = {child: birth for child, birth in born.items() if _birth(child) == birth}
            time.sleep(PAUSE)
        return {
            "is_done": bool(pid and children),
            "supervisord": pid,
            "seconds_to_end": round(time.monotonic() - died, 2),
            "left": [name for name, child in children.items() if child in left],
        }

    def _scale(self, senders: int) -> dict[str, Any]:
        """Run so many senders from now on; a role may be killed or frozen meanwhile."""
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                before = len(self._service.supervisor.programs("sender"))
                self._service.supervisor.scale("sender", senders, lambda _: None)
            except (SupervisorUnavailable, ProcessFailed, xmlrpc.client.Fault) as error:
                if time.monotonic() > deadline:
                    return {"is_done": False, "error": str(error)}
                time.sleep(PAUSE)
            else:
                return {"is_done": True, "before": before}


def _birth(pid: int) -> str:
    """Return when the process began, in ticks since boot; "" when it is gone or a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] == "Z" else fields[19]
