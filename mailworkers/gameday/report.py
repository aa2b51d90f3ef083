"""The report of a game day in words."""

from collections.abc import Iterator
from typing import Any

_SHOWN = 10


def tell(report: dict[str, Any]) -> str:
    """Return the report of a run as lines for people; the first violations of each kind."""
    asked = f"seed {report['seed']}: {report['messages']} messages, {report['kills']} kills, "
    asked += f"{report['terms']} stops, {report['planned_faults']} faults in all"
    ready = f"  most ready in each tenth: {report['most_ready_in_each_tenth']}"
    return "\n".join([f"{asked}; {report['took_seconds']}", ready, *_verdict(report)])


def tell_duplicates(report: dict[str, Any]) -> str:
    """Return the report of the day of duplicates as lines for people."""
    asked = f"seed {report['seed']}: {report['keys']} keys, each {report['copies']} times"
    return "\n".join([f"{asked}; {report['took_seconds']}", *_verdict(report)])


def _verdict(report: dict[str, Any]) -> Iterator[str]:
    yield from (f"  {name}: {value}" for name, value in report["facts"].items())
    for name, found in report["violations"].items():
        count = report["counts"].get(name, 0)
        yield f"{'FAILED' if count else 'ok    '} {name}{f' ({count})' if count else ''}"
        yield from (f"         {line}" for line in found[:_SHOWN])
    if missed := report.get("missed"):
        yield "INCONCLUSIVE: faults that took no effect"
        yield from (f"         {line}" for line in missed)
    yield "GOOD" if report["is_good"] else "NOT GOOD"
