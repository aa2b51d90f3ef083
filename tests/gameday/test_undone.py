"""Whatever ends a drill, nothing of it stays: no process, no mount, no network."""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from mailworkers.gameday.drills.catalog import drill_named
from mailworkers.gameday.drills.needs import lacks
from tests.crash.stores.own import lack
from tests.eventually import eventually

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture
def place() -> Iterator[Path]:
    """Return where a drill puts its directory: short, since sockets go below it."""
    with tempfile.TemporaryDirectory(prefix="gd-", ignore_cleanup_errors=True) as directory:
        Path(directory).chmod(0o711)
        yield Path(directory)


def _started(request: pytest.FixtureRequest, place: Path, name: str) -> "subprocess.Popen[bytes]":
    """Return a drill that has begun to break something."""
    servers = request.config.getoption("--servers")
    if missing := lacks(drill_named(name), servers):
        lack("; ".join(missing))
    log = place / "session.log"
    command = [sys.executable, "-m", "mailworkers", "gameday", "run", name, "--no-prometheus"]
    command += ["--seconds", "120", "--rate", "5", "--log", str(log), "--servers", servers]
    process = subprocess.Popen(
        command,
        env={**os.environ, "TMPDIR": str(place)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    eventually(lambda: log.exists() and " +0 s " in log.read_text(), within=120)
    return process


def _left(place: Path) -> list[str]:
    """Return the processes whose command or environment names the drill's directory."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            text = (entry / "cmdline").read_bytes() + (entry / "environ").read_bytes()
        except OSError:
            continue
        if os.fsencode(place) in text:
            found.append(f"{entry.name} {(entry / 'comm').read_text().strip()}")
    return found


@pytest.mark.parametrize("name", ["redis-outage", "journal-disk-full", "host-split"])
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGALRM, signal.SIGKILL])
def test_a_drill_that_is_ended_leaves_nothing_running(
    request: pytest.FixtureRequest, place: Path, name: str, how: signal.Signals
) -> None:
    """Ctrl-C, SIGTERM and its time limit end it in order; killed, all it started ends with it."""
    before = _links()
    process = _started(request, place, name)

    process.send_signal(how)
    said, _ = process.communicate(timeout=120)

    assert process.returncode != 0
    if how is not signal.SIGKILL:
        assert b"everything that was started is ended" in said
        assert b"everything is kept in" in said
    eventually(lambda: not _left(place), within=60)
    assert str(place) not in Path("/proc/self/mounts").read_text()
    assert _links() == before


def _links() -> set[str]:
    return set(os.listdir("/sys/class/net"))
