"""The summary of drills: a table of checks and alarms for each, one line each in the end."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

_SHOWN = 5  # violations of one check


def summary(report: dict[str, Any]) -> str:
    """Return the report of one drill as lines for people."""
    return "\n".join(["", *_checks(report), *_alarms(report), *_facts(report), _verdict(report)])


def _checks(report: dict[str, Any]) -> Iterator[str]:
    yield from _table(
        ("check", "result"),
        [(name, "FAILED" if found else "ok") for name, found in report["checks"].items()],
    )
    for name, found in report["checks"].items():
        yield from (f"  {name}: {line}" for line in found[:_SHOWN])
    for name, lines in report.get("violations", {}).items():
        yield from (f"  {name}: {line}" for line in lines[:_SHOWN])


def _alarms(report: dict[str, Any]) -> Iterator[str]:
    if not report.get("alarms"):
        return
    rows = []
    for alarm in report["alarms"]:
        resolved = alarm["resolved"]
        after = "still fires" if resolved is None else f"{resolved - report['lasted']:+.0f} s"
        rows.append((alarm["name"], f"{alarm['fired']:.0f} s", after))
    yield ""
    yield from _table(("alarm", "fired after", "quiet after the end"), rows)
    if not report["is_alarm_real"]:
        yield "(conditions in /metrics only: there is no Prometheus here, the rules were not tried)"


def _facts(report: dict[str, Any]) -> Iterator[str]:
    facts = report["facts"]
    yield ""
    if "commands" not in facts:
        yield "; ".join(f"{name}: {value}" for name, value in facts.items())
        return
    drained = report["drained_after"]
    gone = "never" if drained is None else f"{drained:.0f} s after the end"
    yield (
        f"{facts['commands']:,} commands, {facts['copies at the sink']:,} mails at the relay, "
        f"{facts['duplicates']} duplicates (the fault explains {facts['bound of duplicates']}), "
        f"{facts['attempts with outcome unknown']} attempts in doubt"
    )
    yield f"most that waited: {report['most_waiting']:,}; the backlog was gone {gone}"


def _verdict(report: dict[str, Any]) -> str:
    return "GOOD" if report["is_good"] else "NOT GOOD"


def overview(rows: Iterable[tuple[str, str, str]]) -> str:
    """Return the table of several drills: name, verdict, and why it is not good or was not run."""
    return "\n".join(["", *_table(("drill", "verdict", "because"), list(rows))])


def failed(report: dict[str, Any]) -> str:
    """Return the names of the checks that failed."""
    return ", ".join(name for name, found in report["checks"].items() if found)


def _table(columns: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(columns, *rows, strict=True)]
    for row in (columns, tuple("-" * width for width in widths), *rows):
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
