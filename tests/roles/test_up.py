"""`mailworkers up`: the main job, whole, in processes of its own."""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mailworkers.embedded.account import servers_account
from mailworkers.embedded.installation import AlreadyRunning, Installation
from mailworkers.embedded.loopback import fetch_json
from tests.eventually import eventually

_CHECKOUT = Path(__file__).resolve().parents[2]
_ELSEWHERE = {
    "DATABASE_URL": "postgresql://192.0.2.1/elsewhere",
    "REDIS_URL": "redis://192.0.2.1/",
    "PGHOST": "192.0.2.1",
    "MAIL_REDIS_MASTER_ADDR": "192.0.2.1:6379",
    "MAIL_SMTP_ADDR": "192.0.2.1:25",
    "http_proxy": "http://192.0.2.1:3128",
}


@pytest.fixture
def data() -> Iterator[Path]:
    """Return a directory for an installation, with a blank in its name."""
    made = Path(tempfile.mkdtemp(prefix="mail-test-"))
    made.chmod(0o711)
    yield made / "my data"
    shutil.rmtree(made, ignore_errors=True)


@pytest.fixture
def command(request: pytest.FixtureRequest, data: Path) -> list[str]:
    """Return the command of the main job on that directory."""
    servers = str(request.config.getoption("--servers"))
    program = "from mailworkers.cli.main import main; main()"
    return [sys.executable, "-c", program, "up", "--data", str(data), "--servers", servers]


def _run(command: list[str], *options: str, **environment: str) -> tuple[int, str]:
    """Run to the end; return exit code and everything it printed."""
    done = subprocess.run(
        [*command, *options],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, **environment},
        text=True,
        check=False,
    )
    return done.returncode, done.stdout


def test_a_template_that_is_wrong_ends_it_with_the_log_that_says_why(
    command: list[str], tmp_path: Path
) -> None:
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "contract.toml").write_text("this is [not toml")

    code, said = _run(command, "--once", MAIL_TEMPLATE_DIR=str(tmp_path))

    assert code == 1, said
    assert "refuses to start" in said
    assert "contract.toml" in said


@pytest.mark.slow
def test_all_samples_arrive_and_data_stays(command: list[str], data: Path) -> None:
    """Whatever the environment says about servers; Ctrl-C ends everything that was started."""
    code, printed = _run(command, "--once", **_ELSEWHERE)
    assert code == 0, printed
    assert "All 6 sample mails arrived." in printed
    assert len(re.findall(r"sent, arrived after \d+\.\d\d s", printed)) == 6

    with _staying(command, data) as (process, said):
        (mailbox,) = set(re.findall(r"http://127\.0\.0\.1:\d+(?=/messages/)", said.read_text()))
        assert fetch_json(f"{mailbox}/messages.json")["stored"] == 12
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0

    assert not _processes_of(data)


@pytest.mark.parametrize("data_in", ["/dev/null", "/dev/null/x", "/proc/x"])
def test_a_data_directory_that_cannot_be_used_is_named_in_one_line(data_in: str) -> None:
    program = "from mailworkers.cli.main import main; main()"
    code, said = _run([sys.executable, "-c", program, "up", "--data", data_in])

    assert code == 78
    (line,) = said.splitlines()
    assert line.startswith(f"mailworkers: --data={data_in}: ")


@pytest.mark.slow
def test_what_it_tells_to_type_works_and_it_ends_soon_after_supervisord(
    command: list[str], data: Path
) -> None:
    """The directory has a blank in its name; the last line says what happened."""
    with _staying(command, data) as (process, said):
        told = eventually(lambda: _told(said.read_text()), within=60)
        assert "Durable mail delivery" in _typed(told["commands"])
        assert re.search(r"^sender-01 +RUNNING", _typed(told["processes"]), re.MULTILINE)

        os.kill(int(_typed(told["processes"].removesuffix("status") + "pid")), signal.SIGKILL)

        assert process.wait(15) == 1
        assert said.read_text().rstrip().endswith("supervisord ended with code -9")


def _told(said: str) -> dict[str, str]:
    """Return the two lines to type, by their names, as soon as they are shown."""
    found = dict(re.findall(r"^ *(commands|processes) +(.+?) *$", said, re.MULTILINE))
    return found if len(found) == 2 else {}


def _typed(line: str) -> str:
    """Return what the shell prints at *line*, typed in the checkout: its files must not mislead."""
    done = subprocess.run(
        ["/bin/sh", "-c", line], cwd=_CHECKOUT, capture_output=True, text=True, check=True
    )
    return done.stdout


@contextmanager
def _staying(command: list[str], data: Path) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    """Run *command*, which stays; go on when its status is shown, in the file returned."""
    data.mkdir(parents=True, exist_ok=True)
    said = data / "said"
    with said.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out)
    try:
        eventually(lambda: "accepted" in said.read_text(), within=60)
        yield process, said
    finally:
        process.kill()
        process.wait()


@pytest.mark.slow
def test_servers_and_roles_end_when_it_is_killed(command: list[str], data: Path) -> None:
    with _staying(command, data) as (process, _):
        process.kill()
        process.wait()

        eventually(lambda: not _processes_of(data), within=30)


def _processes_of(data: Path) -> list[str]:
    """Return the commands that run with something of *data* in their environment or arguments."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                text = (entry / "cmdline").read_bytes() + (entry / "environ").read_bytes()
            except OSError:
                continue
            if os.fsencode(data) in text:
                found.append(text.decode(errors="replace"))
    return found


def test_one_directory_is_used_by_one_at_a_time(data: Path) -> None:
    first, second = (Installation(data, servers_account()).make() for _ in range(2))

    with first.locked(), pytest.raises(AlreadyRunning, match="--data"), second.locked():
        pass


def test_a_reset_removes_nothing_that_others_put_there(data: Path) -> None:
    installation = Installation(data, servers_account()).make()
    (data / "notes.txt").write_text("mine")
    (data / "mailbox").mkdir()

    installation.reset()

    assert (data / "notes.txt").read_text() == "mine"
    assert not (data / "mailbox").exists()
