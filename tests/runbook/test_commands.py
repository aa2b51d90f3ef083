"""Every command and query of the runbook, typed at a live host in the circumstances it is for.

Blocks below "Over when" and "Afterwards" are typed when the circumstance is over, all others in it.
"""

import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from tests.certificates import Certificates
from tests.crash.operation.commands import fields
from tests.crash.stores.own import lack, own_servers
from tests.eventually import eventually
from tests.runbook import scenes
from tests.runbook.pages import OF_THE_SYSTEM, OF_THE_UNIT, PAGES, Block, blocks, missing
from tests.runbook.stage import Stage

_WHEN_IT_IS_OVER = {"Over when", "Afterwards"}
_SCENES = {
    "backlog": scenes.the_relay_is_slow,
    "dead-letters": scenes.mail_was_refused,
    "malformed": scenes.commands_were_refused,
    "pausing": scenes.mail_must_stop,
    "postgres-away": scenes.postgres_is_away,
    "redis-away": scenes.redis_is_away,
    "relay-login": scenes.the_login_is_refused,
    "relay-timeouts": scenes.the_relay_stalls,
    "restore": scenes.the_database_is_restored,
    "starting": scenes.nothing_runs,
    "stuck-role": scenes.the_scheduler_hangs,
    "suppressed": scenes.mail_was_suppressed,
    "uncertain": scenes.answers_were_lost,
}
# What only looks may be looked at again: signs of life come every few seconds.
_LOOKS = (
    "mailworkers status",
    "mailworkers doctor",
    "mailworkers deliveries",
    "mailworkers pauses",
    "mailworkers config",
    "supervisorctl ",
    "curl ",
    "df ",
)
_CHANGES = (" stop ", " start ", " cancel ", " requeue ", " resend ")

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def stage(request: pytest.FixtureRequest) -> Iterator[Stage]:
    """Return the host, on which all is well."""
    if shutil.which("curl") is None:
        lack("curl: install the package curl")
    place = Path(tempfile.mkdtemp(prefix="mail-runbook-"))
    place.chmod(0o711)  # the account of the servers is another one when we are root
    for name in ("servers", "certificates", "host"):
        (place / name).mkdir()
    with own_servers(request.config, place / "servers") as servers:
        made = Stage(servers, Certificates(place / "certificates"), place / "host")
        (made.directory / "entry.json").write_text(json.dumps(fields()))
        try:
            yield made
        finally:
            made.close()
            shutil.rmtree(place, ignore_errors=True)


@pytest.mark.parametrize("page", PAGES)
def test_the_commands_of_a_page_do_what_it_says(stage: Stage, page: str) -> None:
    """Each ends as it should, and what the page shows is what is there to see."""
    stage.tidy()
    scene: AbstractContextManager[None] = _SCENES.get(page, scenes.all_is_well)(stage)
    with scene:
        for block in blocks(page):
            if block.heading not in _WHEN_IT_IS_OVER:
                _type(stage, block)
    stage.wait_until_well()
    for block in blocks(page):
        if block.heading in _WHEN_IT_IS_OVER:
            _type(stage, block)


def _type(stage: Stage, block: Block) -> None:
    """Type *block*; what only looks is looked at again until it shows what the page does."""
    if block.language == "sql":
        done = stage.ask(stage.filled_in(block.text))
        assert done.returncode == 0, f"{block}\n{done.stderr}"
    elif block.language == "sh" and _only_looks(block):
        eventually(lambda: _tried(stage, block), within=60)
    elif block.language == "sh":
        _tried(stage, block)


def _only_looks(block: Block) -> bool:
    return all(
        line.startswith(_LOOKS) and not any(word in line for word in _CHANGES)
        for line in block.commands
    )


def _tried(stage: Stage, block: Block) -> bool:
    """Run each line of *block*; AssertionError where one ends or shows otherwise than it should."""
    said = "".join(_output(stage, line) for line in block.commands)

    assert missing(block.shown, said) == [], f"{block.page}, {block.heading}:\n{said}"
    return True


def _output(stage: Stage, line: str) -> str:
    """Return what *line* prints, after it ended as it should."""
    if line in OF_THE_UNIT:
        stage.do_with_unit(line.split()[1])
        return ""
    if line == "sudo tee /etc/mailworkers/smtp-password > /dev/null":
        line = 'tee "$MAIL_SMTP_PASSWORD_FILE" > /dev/null'  # where it is here
    if line.startswith(tuple(OF_THE_SYSTEM)):
        return ""
    done = stage.run(stage.filled_in(line))
    said = f"{done.stdout}\n{done.stderr}"
    assert done.returncode == _code_of(line, said), f"{line}\n{said}"
    return said


def _code_of(line: str, said: str) -> int:
    """Return the exit code that belongs to what was said: 1 where something is called wrong."""
    if line.startswith("mailworkers status"):
        return int("all is well" not in said)
    if line.startswith("mailworkers doctor"):
        return int("FAIL" in said)
    return 0
