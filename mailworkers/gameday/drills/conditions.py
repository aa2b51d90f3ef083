"""The conditions behind alarms, read from /metrics: for machines without a Prometheus.

They hold at once, where an alarm waits for its `for`; so they fire sooner than the alarm would.
"""

import re
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterable, Sequence

_SERIES = re.compile(r"(?P<name>\w+)(?:\{(?P<labels>.*)\})? (?P<value>\S+)$")
_READ = "import sys, urllib.request; print(urllib.request.urlopen(sys.argv[1]).read().decode())"
_STALLED = 100  # commands: more than wait for a moment under the load of a drill
Series = list[tuple[str, str, float]]  # name, labels as they are printed, value


def read_series(text: str) -> Series:
    """Return the series of an exposition."""
    found = map(_SERIES.match, text.splitlines())
    return [(m["name"], m["labels"] or "", float(m["value"])) for m in found if m]


def _any(name: str, label: str, test: Callable[[float], bool]) -> Callable[[Series], bool]:
    """Return whether one series of *name* that carries *label* passes *test*."""
    return lambda series: any(n == name and label in ls and test(v) for n, ls, v in series)


CONDITIONS: dict[str, Callable[[Series], bool]] = {
    "RedisUnreachable": _any("mail_store_up", 'store="redis"', lambda up: up == 0),
    "PostgresUnreachable": _any("mail_store_up", 'store="postgres"', lambda up: up == 0),
    "MailIntakeStalled": _any("mail_stream_commands_lag", "", lambda lag: lag > _STALLED),
    "MailBreakerOpen": _any("mail_relay_breakers_open", "", lambda n: n > 0),
}


class Conditions:
    """What holds now of *alarms*, by the monitor at *port*, which *inside* leads to."""

    def __init__(self, port: int, alarms: Iterable[str], inside: Sequence[str] = ()) -> None:
        self._conditions = {name: CONDITIONS[name] for name in alarms}
        self._command = [*inside, sys.executable, "-c", _READ, f"http://127.0.0.1:{port}/metrics"]
        self._url = "" if inside else self._command[-1]
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def firing(self) -> set[str]:
        """Return the alarms whose conditions hold; OSError when the monitor does not answer."""
        series = read_series(self._exposition())
        return {name for name, holds in self._conditions.items() if holds(series)}

    def _exposition(self) -> str:
        if not self._url:
            return subprocess.run(
                self._command, capture_output=True, text=True, check=False, timeout=20
            ).stdout
        with self._opener.open(self._url, timeout=10) as answer:
            text: str = answer.read().decode()
            return text
