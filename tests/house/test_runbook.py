"""docs/runbook/README.md lists every log event and every metric, and nothing else."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from mailworkers.adapters import supervisor_events
from mailworkers.adapters.events import EVENTS
from mailworkers.adapters.instruments import INSTRUMENTS, Instrument, Kind

ROOT = Path(__file__).resolve().parents[2]
ALERTS = ROOT / "ops" / "prometheus" / "alerts.yml"
PAGE = (ROOT / "docs" / "runbook" / "README.md").read_text(encoding="utf-8")
# Methods of `Telemetry` that take the event's text from their caller.
_FREE_TEXT = {"pass_done", "failed"}


def _rows(heading: str) -> list[list[str]]:
    """Return the cells of the table below *heading*, without its two first lines."""
    section = PAGE.split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines[2:]]


def _free_texts() -> Iterator[str]:
    """Yield the event texts that stand in the code, `{role}` where one is put together."""
    for path in sorted((ROOT / "mailworkers").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "attr", "") in _FREE_TEXT:
                match node.args[0]:
                    case ast.Constant(str(text)):
                        yield text
                    case ast.JoinedStr() as made:
                        yield ast.unparse(made)[2:-1]


def test_every_event_is_listed_with_its_meaning() -> None:
    """The table says what `adapters/events.py` says; the last column is the page's own."""
    found = {row[0].strip("`"): row[1] for row in _rows("Log events")}

    assert found == dict(EVENTS)


def test_every_other_line_is_listed() -> None:
    """Passes at level debug, what nobody foresaw, and what the event listener reports."""
    listener = {supervisor_events.MISCONFIGURED, supervisor_events.STORM, supervisor_events.GAVE_UP}

    found = [row[0].strip("`") for row in _rows("Other lines")]

    assert sorted(found) == sorted({*_free_texts(), *listener})


def test_every_metric_is_listed_with_its_kind_its_labels_and_its_meaning() -> None:
    """The table says what `adapters/instruments.py` says, in its order."""
    expected = [
        [
            f"`{instrument.prometheus_name}`",
            str(instrument.kind),
            ", ".join(f"`{label}`" for label in instrument.labels),
            instrument.means,
        ]
        for instrument in INSTRUMENTS
    ]

    assert _rows("Metrics") == expected


def test_no_page_speaks_of_a_metric_or_an_alarm_that_is_not_there() -> None:
    """Whoever follows a page at night must not look for what was renamed."""
    known = {name for each in INSTRUMENTS for name in _series(each)}
    alarms = set(re.findall(r"- alert: (\w+)", ALERTS.read_text(encoding="utf-8")))
    strangers = {
        f"{page.relative_to(ROOT)}: {name}"
        for page in sorted((ROOT / "docs").rglob("*.md"))
        for name in _named(page.read_text(encoding="utf-8"))
        if name not in known | alarms
    }

    assert strangers == set()


def _series(instrument: Instrument) -> set[str]:
    """Return the names under which Prometheus has what *instrument* counts."""
    name = instrument.prometheus_name
    if instrument.kind is not Kind.HISTOGRAM:
        return {name}
    return {name, *(f"{name}_{part}" for part in ("bucket", "sum", "count"))}


def _named(text: str) -> set[str]:
    """Return what looks like a metric or an alarm in code spans and blocks of a page."""
    code = " ".join(re.findall(r"```.*?```|`[^`]+`", text, re.DOTALL))
    metrics = re.findall(r"\b(?:mail_\w+_total|mail_\w+(?=\{)|retries_\w+_total)", code)
    return {*metrics, *re.findall(r"\b(?:Mail[A-Z]\w+|\w+Unreachable)\b", code)}
