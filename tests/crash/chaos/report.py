"""The report of a run in words."""

from typing import Any

_SHOWN = 10


def tell(report: dict[str, Any]) -> str:
    """Return the report as lines for people; the first violations of each kind, all counted."""
    asked = f"seed {report['seed']}: {report['messages']} messages, {report['kills']} kills"
    lines = [f"{asked}, {report['planned_faults']} faults planned, {report['took_seconds']}"]
    lines += [f"  {name}: {value}" for name, value in report["facts"].items()]
    for name, found in report["violations"].items():
        lines.append(f"{'FAILED' if found else 'ok    '} {name}{_count(found)}")
        lines += [f"         {line}" for line in found[:_SHOWN]]
    if report["missed"]:
        lines.append("INCONCLUSIVE: faults that took no effect")
        lines += [f"         {line}" for line in report["missed"]]
    lines.append("GOOD" if report["is_good"] else "NOT GOOD")
    return "\n".join(lines)


def _count(found: list[str]) -> str:
    return f" ({len(found)})" if found else ""
