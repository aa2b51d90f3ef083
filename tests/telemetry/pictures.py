"""A picture of the dashboard with data in it: `python -m tests.telemetry.pictures FOLDER`.

Grafana is no Debian package, so this is not Grafana: it runs the service, lets everything happen
that happens to mail, asks a real Prometheus every question of the dashboard, and draws the answers
where Grafana would. What it shows is whether each panel has something to say and can be read
beside the others. Needs Prometheus, Chromium and the packages of the extra `test`.
"""

import re
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import redis

from mailworkers.adapters import db
from mailworkers.adapters.supervisor_files import Slots
from mailworkers.embedded.binaries import Source
from mailworkers.embedded.servers import Servers, start_servers
from tests.console.browsing import chromium
from tests.crash.operation.commands import put
from tests.crash.processes import Roles, environ_of
from tests.eventually import eventually
from tests.relay import Relay
from tests.telemetry import story
from tests.telemetry.dashboards import BOARD, filled
from tests.telemetry.drawing import CELL, Line, draw
from tests.telemetry.prometheus import Prometheus, watching

_SECONDS = 150
_STYLE = """
body { background: #111217; color: #ccccdc; font: 12px system-ui, sans-serif; margin: 0 }
section { position: absolute; background: #181b1f; border: 1px solid #2c3235; overflow: hidden;
  box-sizing: border-box; padding: 4px 8px }
section.row { background: none; border: none; font-weight: 600; font-size: 14px; padding: 10px 4px }
h3 { margin: 2px 0; font-size: 13px; font-weight: 500 }
svg { display: block } text { fill: #9fa7b3; font-size: 11px }
.grid { stroke: #2c3235 } .bound { stroke: #f2495c; stroke-dasharray: 6 4 }
.legend { margin: 0; line-height: 1.3 } i { font-style: normal }
.stat { font-size: 34px; margin: 8px 0; text-align: center; border-radius: 3px; color: #fff }
p.green { background: #37872d } p.red { background: #c4162a }
rect.green { fill: #37872d } rect.red { fill: #c4162a }
td { padding: 2px 10px 2px 0 } .none { color: #ff9830; text-align: center; font-size: 16px }
"""


def main(folder: Path) -> None:
    """Write dashboard.html and dashboard.png into *folder*."""
    folder.mkdir(parents=True, exist_ok=True)
    home = Path(tempfile.mkdtemp(prefix="mail-pictures-"))
    home.chmod(0o711)
    try:
        with start_servers(home, source=Source.AUTO, durable=False) as servers, Relay() as relay:
            db.migrate(servers.postgres_dsn)
            page = _watch(servers, relay, home)
    finally:
        shutil.rmtree(home, ignore_errors=True)
    file = folder / "dashboard.html"
    file.write_text(page, encoding="utf-8")
    _take(file)


def _watch(servers: Servers, relay: Relay, home: Path) -> str:
    """Run the service for some minutes; return the page."""
    state = home / "state"
    state.mkdir()
    Slots(state).prepare(1)
    environ = environ_of(servers, relay, state) | story.ENVIRON
    client = redis.Redis(unix_socket_path=str(servers.places.keyvalue_socket))
    with (
        db.connect(servers.postgres_dsn) as conn,
        Roles(environ, state) as roles,
        watching(roles, home, every="1s") as prometheus,
    ):
        began = time.time()
        eventually(lambda: prometheus.number("mail:available") == 1, within=90)
        _let_it_happen(story.Story(conn, client, relay), client, began)
        return _page(prometheus, began, time.time())


def _let_it_happen(told: story.Story, client: redis.Redis, began: float) -> None:
    """Tell the story again and again between a steady flow, with a relay that fails in between."""
    parts = [told.tell, told.tell, told.break_the_relay, told.mend_the_relay, told.tell]
    parts.append(told.lose_the_stream)
    for place, part in enumerate(parts, 1):
        part()
        while time.time() < began + _SECONDS * place / len(parts):
            put(client)
            time.sleep(0.3)


def _page(prometheus: Prometheus, began: float, until: float) -> str:
    cells = []
    for panel in BOARD["panels"]:
        place = panel["gridPos"]
        box = (
            f"left:{place['x'] * CELL[0]}px; top:{place['y'] * CELL[1]}px;"
            f"width:{place['w'] * CELL[0] - 6}px; height:{place['h'] * CELL[1] - 6}px"
        )
        kind, body = "row", panel["title"]
        if panel["type"] != "row":
            lines = _lines(prometheus, panel, began, until)
            kind, body = "panel", draw(panel, lines, (began, until))
        cells.append(f'<section class="{kind}" style="{box}">{body}</section>')
    return f"<!doctype html><meta charset=utf-8><style>{_STYLE}</style>{''.join(cells)}"


def _lines(prometheus: Prometheus, panel: dict[str, Any], began: float, until: float) -> list[Line]:
    """Return what Prometheus says to each question of *panel*."""
    lines = []
    for target in panel["targets"]:
        question = filled(target["expr"])
        if target["instant"]:
            found = [{**one, "values": [one["value"]]} for one in prometheus.ask(question)]
        else:
            found = prometheus.ask_range(question, began, until, 1)
        for series in found:
            points = [(float(at), float(value)) for at, value in series["values"]]
            lines.append(
                Line(_name(target["legendFormat"], series["metric"]), points, series["metric"])
            )
    return lines


def _name(legend: str, labels: dict[str, str]) -> str:
    return re.sub(r"\{\{(\w+)\}\}", lambda found: labels.get(found[1], ""), legend)


def _take(file: Path) -> None:
    """Write the picture of *file* beside it."""
    last = BOARD["panels"][-1]["gridPos"]
    size = {"width": 24 * CELL[0], "height": (last["y"] + last["h"]) * CELL[1]}
    with chromium() as browser:
        page = browser.new_page(viewport=size)  # type: ignore[arg-type]
        page.goto(file.resolve().as_uri())
        page.screenshot(path=file.with_suffix(".png"))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
