"""The lives of the roles' processes, as supervisord's own log tells them."""

import re
from pathlib import Path

import msgspec

_EVENT = re.compile(
    r"supervisord started with pid (?P<supervisord>\d+)"
    r"|spawned: '(?P<born>[^']+)' with pid (?P<pid>\d+)"
    r"|(?:exited|stopped): (?P<ended>\S+) \((?P<how>exit status \d+|terminated by \w+)"
)


class Life(msgspec.Struct):
    """One process of a program. `how` it ended: "" when supervisord did not see it end."""

    program: str
    pid: int
    supervisord: int
    how: str = ""


def read_lives(log: Path) -> list[Life]:
    """Return every life in the log and its rotated parts, by birth."""
    lives: list[Life] = []
    latest: dict[str, Life] = {}
    supervisord = 0
    for part in sorted(log.parent.glob(f"{log.name}*"), reverse=True):  # .3, .2, .1, the log
        for found in _EVENT.finditer(part.read_text(errors="replace")):
            if found["supervisord"]:
                supervisord = int(found["supervisord"])
            elif found["born"]:
                life = Life(found["born"], int(found["pid"]), supervisord)
                lives.append(life)
                latest[life.program] = life
            elif found["ended"] in latest:
                latest[found["ended"]].how = found["how"]
    return lives
