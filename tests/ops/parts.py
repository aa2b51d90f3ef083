"""Running functions of ops/parts by themselves, on a directory that stands for the whole host."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.crash.stores.own import lack
from tests.ops.unit_files import ROOT

OPS = ROOT / "ops"
SCRIPTS = ("install", "upgrade", "rollback", "backup", "restore", "uninstall")


def environment(host: Path) -> dict[str, str]:
    """Return the environment in which everything lies below *host*."""
    return {"PATH": os.environ["PATH"], "MAILWORKERS_ROOT": str(host), "LANG": "C.UTF-8"}


def script(host: Path, name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a script of ops/ on *host*; nobody answers its questions."""
    return subprocess.run(
        [OPS / name, *arguments],
        check=False,
        capture_output=True,
        text=True,
        env=environment(host),
        stdin=subprocess.DEVNULL,
    )


def parts(host: Path, commands: str) -> subprocess.CompletedProcess[str]:
    """Run *commands* where all parts are known, as the scripts do."""
    prelude = f'set -euo pipefail; HERE={OPS}; . "$HERE/parts/everything.sh"; make_work\n'
    return subprocess.run(
        ["bash", "-c", prelude + commands],
        check=False,
        capture_output=True,
        text=True,
        env=environment(host),
        stdin=subprocess.DEVNULL,
    )


@pytest.fixture
def host(tmp_path: Path) -> Path:
    """Return an empty host; the scripts are root's, and so are these tests."""
    if os.geteuid() != 0:
        lack("root")
    for place in ("etc/mailworkers", "opt/mailworkers/releases", "var/log/mailworkers"):
        (tmp_path / place).mkdir(parents=True)
    return tmp_path


def make_release(host: Path, name: str, **notes: str) -> Path:
    """Lay down what counts as a release, and nothing that could run."""
    release = host / "opt/mailworkers/releases" / name
    (release / "bin").mkdir(parents=True)
    lines = {"version": "1.0", **notes}
    (release / "complete").write_text("".join(f"{k}={v}\n" for k, v in lines.items()))
    return release
