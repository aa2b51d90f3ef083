"""A folder of measurements: one JSON file each, and the report of all that are there.

A measurement that was interrupted leaves those before it; measured again, one replaces its own.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from mailworkers.bench.budgets import Line, judge
from mailworkers.bench.plot import draw
from mailworkers.bench.report import Report, as_object

_REPORT = "report"


class Collection:
    """The measurements in *folder*, which is made when missing."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def keep(self, name: str, report: Report) -> None:
        """Write what the measurement *name* gave."""
        self._write(f"{name}.json", as_object(report))

    def found(self) -> dict[str, Mapping[str, Any]]:
        """Return the JSON object of each measurement that is there, by its name."""
        return {
            path.stem: msgspec.json.decode(path.read_bytes())
            for path in sorted(self.folder.glob("*.json"))
            if path.stem != _REPORT
        }

    def lines(self) -> list[Line]:
        """Return a line for each target."""
        return list(judge(self.found()))

    def write_report(self) -> list[Path]:
        """Write the table as JSON and as Markdown, and the plot; return the files."""
        lines = self.lines()
        rows = [
            {
                **msgspec.structs.asdict(line.budget),
                "measured": line.value,
                "is_reached": line.is_reached,
            }
            for line in lines
        ]
        written = [self._write(f"{_REPORT}.json", {"budgets": rows})]
        for suffix, text in (("md", _markdown(lines)), ("svg", draw(self.found(), lines))):
            path = self.folder / f"{_REPORT}.{suffix}"
            path.write_text(text, encoding="utf-8")
            written.append(path)
        return written

    def _write(self, name: str, value: object) -> Path:
        path = self.folder / name
        path.write_bytes(msgspec.json.format(msgspec.json.encode(value, enc_hook=str), indent=2))
        return path


def _markdown(lines: list[Line]) -> str:
    return "\n".join(_rows(lines)) + "\n"


def _rows(lines: list[Line]) -> Iterator[str]:
    yield "| what | target | measured | reached |"
    yield "| --- | --- | --- | --- |"
    for line in lines:
        yield "| " + " | ".join(line.texts()) + " |"
