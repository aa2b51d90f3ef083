"""Where a run left its traces."""

from pathlib import Path
from typing import NamedTuple


class Places(NamedTuple):
    """The run's directory with its ledgers, the service's state, its stores, what must be secret.

    `lanes_parked` are those of the policy `park`; `ladder` is how many attempts a delivery has;
    `listed` stood on our own list from the beginning; `lease` is in seconds, `keep` in seconds how
    long retention keeps everything, None for longer than the run; in `shutdown` seconds a role that
    was told to stop has ended; `is_gentle`: nothing worse was done than to tell roles to stop.
    """

    directory: Path
    state_dir: Path
    dsn: str
    redis_socket: str
    stream: str
    secret: str
    metrics_port: int
    messages: int
    lease: float
    ladder: int
    lanes_parked: frozenset[str]
    listed: frozenset[str]
    shutdown: float
    is_gentle: bool
    keep: float | None
