"""The unit: valid, closed, and open exactly where the service needs it; logrotate's file."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from mailworkers.adapters.settings import load
from tests.crash.stores.own import lack
from tests.ops.unit_files import HOST_FILES, ROOT, settings_of

UNITS = ("mailworkers.service", "mailworkers-backup.service", "mailworkers-backup.timer")
_PROGRAMS = ("bin/python", "ops/backup")


@pytest.fixture
def analyze() -> str:
    """Return systemd-analyze."""
    found = shutil.which("systemd-analyze")
    if found is None:
        lack("systemd-analyze: install the package systemd")
    return found


@pytest.fixture
def laid_out(tmp_path: Path) -> Path:
    """Return a root with our units, Debian's, and the programs ours name."""
    ours = tmp_path / "etc/systemd/system"
    ours.mkdir(parents=True)
    for unit in UNITS:
        shutil.copy(HOST_FILES / unit, ours)
    shutil.copytree("/lib/systemd/system", tmp_path / "lib/systemd/system", symlinks=True)
    for program in _PROGRAMS:
        path = tmp_path / "opt/mailworkers/current" / program
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o755)
    return tmp_path


def test_systemd_has_nothing_to_say_about_the_units(analyze: str, laid_out: Path) -> None:
    """It warns and goes on where it does not understand: so silence counts, not the exit code."""
    command = [analyze, "verify", f"--root={laid_out}", *UNITS]
    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@pytest.mark.parametrize(("unit", "most"), [(UNITS[0], 1.2), (UNITS[1], 2.5)])
def test_the_exposure_of_a_unit_is_low(unit: str, most: float, analyze: str) -> None:
    """Measured by systemd: 10 is open to everything. What is left is network, /proc and sockets."""
    command = [analyze, "security", "--offline=true", "--no-pager", str(HOST_FILES / unit)]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout

    level = re.search(r"exposure level for \S+: ([\d.]+)", shown)

    assert level is not None
    assert float(level[1]) <= most


def test_the_kernels_boot_id_can_be_read() -> None:
    """A journal proves what has not happened only for the boot it was written in."""
    assert "ProcSubset" not in dict(settings_of(UNITS[0]))


def test_roles_get_one_signal_to_stop_and_the_time_to_do_it() -> None:
    """A second one ends them where they stand; the stop wait is supervisord's, then systemd's."""
    unit = dict(settings_of(UNITS[0]))
    stub = {
        "MAIL_REDIS_MASTER_ADDR": "127.0.0.1:6379",
        "MAIL_POSTGRES_PRIMARY_DSN": "dbname=x",
        "MAIL_SMTP_MODE": "stub",
    }

    assert unit["KillMode"] == "mixed"
    assert float(unit["TimeoutStopSec"]) > load(stub).stop_wait.total_seconds() + 10


def test_a_wrong_setting_does_not_make_a_restart_loop() -> None:
    """Exit code 78 means: trying again does not help."""
    unit = dict(settings_of(UNITS[0]))

    assert (unit["Restart"], unit["RestartPreventExitStatus"]) == ("always", "78")


def test_what_is_started_later_is_of_the_current_release() -> None:
    """supervisord looks for programs where its own interpreter was called, and that is a link."""
    unit = dict(settings_of(UNITS[0]))

    assert unit["ExecStart"].startswith("/opt/mailworkers/current/bin/python -m mailworkers ")


def test_logrotate_takes_its_file(tmp_path: Path) -> None:
    """Without an error; and the logs that supervisord turns over are not in it."""
    program = shutil.which("logrotate", path="/usr/sbin:/usr/bin")
    if program is None:
        lack("logrotate: install the package logrotate")
    own = tmp_path / "mailworkers"
    own.write_text((HOST_FILES / "logrotate").read_text(encoding="utf-8"))
    own.chmod(0o644)
    command = [program, "--debug", "--state", str(tmp_path / "state"), str(own)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    assert "error" not in done.stderr
    assert "Handling 1 logs" in done.stderr
    assert "/var/log/mailworkers/" not in re.sub(r"#.*", "", own.read_text())


def test_every_file_for_the_host_is_laid_there() -> None:
    """What is in ops/host is placed by the installation, and removed by the removal."""
    text = (ROOT / "ops/parts/host_files.sh").read_text(encoding="utf-8")
    install = (ROOT / "ops/install").read_text(encoding="utf-8")

    forgotten = [path.name for path in HOST_FILES.iterdir() if path.name not in text + install]

    assert forgotten == []
