"""The shipped dashboard as Grafana would ask it: its panels, their questions, with values for
its variables.
"""

import json
from pathlib import Path
from typing import Any

HOUSE = Path(__file__).resolve().parents[2]
FILE = HOUSE / "ops" / "grafana" / "mailworkers.json"
BOARD: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))

# As with "All" chosen everywhere.
_VALUES = {"$__rate_interval": "1m", "$host": ".*", "$lane": ".*"}


def panels() -> list[dict[str, Any]]:
    """Return the panels that ask something, in their order."""
    return [panel for panel in BOARD["panels"] if panel["type"] != "row"]


def questions() -> list[tuple[str, str]]:
    """Return every question with the title of its panel, as it is written."""
    found = [(panel["title"], target["expr"]) for panel in panels() for target in panel["targets"]]
    noted = BOARD["annotations"]["list"]
    return found + [(annotation["name"], annotation["expr"]) for annotation in noted]


def filled(question: str) -> str:
    """Return *question* with values for the variables."""
    for name, value in _VALUES.items():
        question = question.replace(name, value)
    return question
