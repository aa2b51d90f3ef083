"""Write the dashboard as Grafana imports it: `python ops/grafana/dashboard.py > FILE.json`.

`panels.py` says what is shown; here is how Grafana (11 and later) wants it.
"""

import json
import sys
from collections.abc import Iterator
from typing import Any

from panels import HOST, ROWS
from records import Panel, Query, Row

Json = dict[str, Any]

_SOURCE = {"type": "prometheus", "uid": "${datasource}"}
_COLUMNS = 24
_GREEN, _RED = "green", "red"


def dashboard() -> Json:
    """Return the whole dashboard."""
    return {
        "uid": "mailworkers",
        "title": "mailworkers",
        "description": "Is mail delivered, and if not: where does it wait, and why?",
        "tags": ["mail"],
        "schemaVersion": 39,
        "editable": False,
        "graphTooltip": 1,  # one moment in all pictures
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "timezone": "browser",
        "links": [_link("Runbook", "README.md"), _link("Alarms", "alerts.md")],
        "templating": {"list": list(_variables())},
        "annotations": {"list": [_annotation()]},
        "panels": list(_laid_out()),
    }


def _variables() -> Iterator[Json]:
    yield {
        "name": "datasource",
        "label": "Prometheus",
        "type": "datasource",
        "query": "prometheus",
    }
    yield {
        "name": "host",
        "label": "Host",
        "type": "query",
        "datasource": _SOURCE,
        "query": {"query": "label_values(service_up, instance)", "refId": "host"},
        "refresh": 2,  # with the time range
        "sort": 1,
        **_all_of(),
    }
    lanes = ("auth", "normal", "bulk")
    yield {
        "name": "lane",
        "label": "Lane",
        "type": "custom",
        "query": ",".join(lanes),
        "options": [{"text": lane, "value": lane, "selected": False} for lane in lanes],
        **_all_of(),
    }
    yield {
        "name": "runbook",
        "label": "Runbook at",
        "type": "textbox",
        "query": "docs/runbook",
        "current": {"text": "docs/runbook", "value": "docs/runbook"},
        "description": "Where the directory docs/runbook can be read, as the links need it.",
    }


def _all_of() -> Json:
    return {
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"text": ["All"], "value": ["$__all"], "selected": True},
    }


def _annotation() -> Json:
    return {
        "name": "Critical alarms",
        "datasource": _SOURCE,
        "enable": True,
        "iconColor": _RED,
        "expr": f'ALERTS{{alertstate="firing",severity="critical",{HOST}}}'
        ' or ALERTS{alertstate="firing",severity="critical",instance=""}',
        "titleFormat": "{{alertname}}",
        "step": "10s",
    }


def _laid_out() -> Iterator[Json]:
    """Yield every row's heading and its panels, from left to right, none above another."""
    number, below = 1, 0
    for row in ROWS:
        yield _heading(row, number, below)
        number, below = number + 1, below + 1
        across = tallest = 0
        for panel in row.panels:
            if across + panel.width > _COLUMNS:
                across, below, tallest = 0, below + tallest, 0
            place = {"x": across, "y": below, "w": panel.width, "h": panel.height}
            yield {"id": number, "gridPos": place, **_panel(panel)}
            number, across = number + 1, across + panel.width
            tallest = max(tallest, panel.height)
        below += tallest


def _heading(row: Row, number: int, below: int) -> Json:
    place = {"x": 0, "y": below, "w": _COLUMNS, "h": 1}
    return {"id": number, "type": "row", "title": row.title, "collapsed": False, "gridPos": place,
            "panels": []}  # fmt: skip


def _panel(panel: Panel) -> Json:
    return {
        "type": panel.kind,
        "title": panel.title,
        "description": _description(panel),
        "datasource": _SOURCE,
        "links": [
            _link(name, f"alerts.md#{name.lower()}")
            for name in dict.fromkeys(alarm.name for alarm in panel.alarms)
        ],
        "targets": [
            _target(panel, query, chr(ord("A") + place))
            for place, query in enumerate(panel.queries)
        ],
        "fieldConfig": {"defaults": _defaults(panel), "overrides": []},
        "options": _options(panel),
    }


def _description(panel: Panel) -> str:
    lines = [panel.says]
    for alarm in panel.alarms:
        bound = "" if alarm.above is None else f" above {alarm.above:,g}"
        lines.append(f"{alarm.name}{bound}: docs/runbook/alerts.md#{alarm.name.lower()}")
    return "\n\n".join(lines)


def _target(panel: Panel, query: Query, name: str) -> Json:
    is_moment = panel.kind in {"stat", "table"}
    shape = {"table": "table", "heatmap": "heatmap"}.get(panel.kind, "time_series")
    return {
        "refId": name,
        "datasource": _SOURCE,
        "expr": query.ask,
        "legendFormat": query.legend or "__auto",
        "instant": is_moment,
        "range": not is_moment,
        "format": shape,
        "exemplar": query.is_trace_wanted,
    }


def _defaults(panel: Panel) -> Json:
    found: Json = {"unit": panel.unit, "thresholds": _thresholds(panel), "mappings": [],
                   "noValue": "none"}  # fmt: skip
    if panel.words is not None:
        zero, one = panel.words
        found["mappings"] = [{"type": "value", "options": {
            "0": {"text": zero, "color": _RED}, "1": {"text": one, "color": _GREEN}}}]  # fmt: skip
    if panel.kind == "timeseries":
        found |= {"min": 0, "custom": _drawing(panel)}
    return found


def _drawing(panel: Panel) -> Json:
    has_bound = any(alarm.above is not None for alarm in panel.alarms)
    scale = {"type": "log", "log": panel.log_base} if panel.log_base else {"type": "linear"}
    return {
        "drawStyle": "line",
        "lineWidth": 1,
        "fillOpacity": 40 if panel.is_stacked else 8,
        "stacking": {"mode": "normal" if panel.is_stacked else "none", "group": "A"},
        "scaleDistribution": scale,
        "thresholdsStyle": {"mode": "dashed" if has_bound else "off"},
        "showPoints": "never",
        "spanNulls": False,
    }


def _thresholds(panel: Panel) -> Json:
    """Return the lines of the alarms; one that fires above 0, of things that are counted, at 1."""
    if panel.red_below is not None:
        steps = [{"color": _RED, "value": None}, {"color": _GREEN, "value": panel.red_below}]
        return {"mode": "absolute", "steps": steps}
    bounds = {alarm.above or 1 for alarm in panel.alarms if alarm.above is not None}
    if panel.red_from is not None:
        bounds.add(panel.red_from)
    red = [{"color": _RED, "value": bound} for bound in sorted(bounds)]
    return {"mode": "absolute", "steps": [{"color": _GREEN, "value": None}, *red]}


def _options(panel: Panel) -> Json:
    """Return how its kind is drawn; a number that is neither good nor bad has no colour."""
    found = _OPTIONS[panel.kind]
    if panel.kind != "stat":
        return found
    is_judged = panel.alarms or panel.words or (panel.red_from, panel.red_below) != (None, None)
    return found | {"colorMode": "background" if is_judged else "none"}


def _link(title: str, page: str) -> Json:
    return {"title": title, "type": "link", "url": f"${{runbook}}/{page}", "targetBlank": True}


_LEGEND = {"displayMode": "list", "placement": "bottom", "showLegend": True}
_OPTIONS: dict[str, Json] = {
    "timeseries": {"legend": _LEGEND, "tooltip": {"mode": "multi", "sort": "desc"}},
    "state-timeline": {"legend": _LEGEND, "mergeValues": True, "showValue": "auto"},
    "stat": {
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        "graphMode": "none",
    },
    "table": {"showHeader": True},
    "heatmap": {
        "calculate": False,
        "color": {"mode": "scheme", "scheme": "Oranges"},
        "yAxis": {"unit": "ms"},
        "exemplars": {"color": "blue"},
    },
}

if __name__ == "__main__":
    json.dump(dashboard(), sys.stdout, indent=2)
    sys.stdout.write("\n")
