"""Where the time goes: py-spy beside consumers and senders, pg_stat_statements in Postgres.

A profiled run is slower than another; its rates are not figures. Needs `py-spy` on PATH or beside
the interpreter.
"""

import re
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mailworkers.bench.testbed import BenchFailed, Testbed

_LINE = re.compile(r":\d+(?=\)$)")  # what matters is the function
_SAMPLES = 250  # a second
_PROFILED = ("consumer", "sender")
_TOP = 45
_STATEMENTS = b"""
SELECT calls, rows, round(total_plan_time::numeric, 1) AS plan_ms,
    round(total_exec_time::numeric, 1) AS exec_ms,
    round((total_plan_time + total_exec_time)::numeric * 1000 / greatest(rows, 1), 1) AS us_row,
    round(shared_blks_hit::numeric / greatest(rows, 1), 1) AS buffers_row,
    round(wal_bytes / greatest(rows, 1)) AS wal_row,
    left(regexp_replace(query, '\\s+', ' ', 'g'), 120) AS statement
FROM public.pg_stat_statements ORDER BY total_plan_time + total_exec_time DESC LIMIT 30
"""


@contextmanager
def profiled(testbed: Testbed, directory: Path | None) -> Iterator[None]:
    """Profile for the time of the context into *directory*; without one do nothing."""
    if directory is None:
        yield
        return
    directory.mkdir(parents=True, exist_ok=True)
    testbed.conn.execute("SELECT public.pg_stat_statements_reset()")
    watchers = [
        _watch(role.pid, directory / f"{role.name}.folded")
        for role in testbed.roles
        if role.role in _PROFILED
    ]
    try:
        yield
    finally:
        for watcher in watchers:
            watcher.send_signal(signal.SIGINT)
        for watcher in watchers:
            watcher.wait(60)
    for folded in directory.glob("*.folded"):
        folded.with_suffix(".txt").write_text(summary(folded.read_text()))
    _write_statements(testbed, directory / "statements.txt")


def _watch(pid: int, folded: Path) -> subprocess.Popen[bytes]:
    beside = str(Path(sys.executable).parent)
    program = shutil.which("py-spy", path=beside) or shutil.which("py-spy")
    if program is None:
        raise BenchFailed("py-spy was not found: pip install py-spy")
    command = [program, "record", "--nonblocking", "--rate", str(_SAMPLES), "--format", "raw"]
    command += ["--output", str(folded), "--pid", str(pid)]
    return subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


def summary(folded: str) -> str:
    """Return the functions of *folded* stacks by their share: with those they call, and alone."""
    whole: Counter[str] = Counter()
    alone: Counter[str] = Counter()
    total = 0
    for line in folded.splitlines():
        stack, _, count = line.rpartition(" ")
        frames = [_LINE.sub("", frame) for frame in stack.split(";")]
        total += int(count)
        alone[frames[-1]] += int(count)
        whole.update(dict.fromkeys(frames, int(count)))
    parts = [f"{total} samples"]
    for title, counter in (("with what they call", whole), ("alone", alone)):
        parts.append(f"\n{title}")
        parts += [f"{count / total:6.1%}  {name}" for name, count in counter.most_common(_TOP)]
    return "\n".join(parts) + "\n"


def _write_statements(testbed: Testbed, path: Path) -> None:
    """Write what each statement cost; those of foreign keys are counted in their callers, too."""
    cursor = testbed.conn.execute(_STATEMENTS)
    heading = [column.name for column in cursor.description or ()]
    lines = ["  ".join(map(str, row)) for row in (heading, *cursor)]
    path.write_text("\n".join(lines) + "\n")
