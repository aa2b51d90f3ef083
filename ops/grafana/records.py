"""What a dashboard is made of."""

import msgspec


class Alarm(msgspec.Struct, frozen=True):
    """An alarm of alerts.yml; *above* is its bound, drawn as a line, None where there is none."""

    name: str
    above: float | None = None


class Query(msgspec.Struct, frozen=True):
    """One question; *legend* names its series, by `{{label}}`."""

    ask: str
    legend: str = ""
    is_trace_wanted: bool = False


class Panel(msgspec.Struct, frozen=True):
    """One picture, *width* of 24 columns wide; *says* is what it tells, for who points at it.

    *words* are values in words, green for 1 and red for 0. *red_from*, *red_below*: where no alarm
    says what is bad.
    """

    title: str
    says: str
    queries: tuple[Query, ...]
    unit: str = "short"
    width: int = 8
    height: int = 7
    kind: str = "timeseries"
    alarms: tuple[Alarm, ...] = ()
    words: tuple[str, str] | None = None
    is_stacked: bool = False
    log_base: int = 0
    red_from: float | None = None
    red_below: float | None = None


class Row(msgspec.Struct, frozen=True):
    """Panels that answer one question."""

    title: str
    panels: tuple[Panel, ...]
