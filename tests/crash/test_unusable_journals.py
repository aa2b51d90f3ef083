"""A sender that cannot have a journal does not work: that is its operator's to mend."""

import threading
from pathlib import Path

import pytest

from mailworkers.adapters.journal import SenderJournal, orphans
from tests.crash.processes import Roles


@pytest.mark.parametrize("what", ["a file", "a link to nowhere"])
def test_a_place_that_can_hold_no_journals_ends_the_start_with_78(
    roles: Roles, tmp_path: Path, what: str
) -> None:
    """Only an operator can change it: one line that names the setting, no waiting for ever."""
    journals = tmp_path / "journals"
    if what == "a file":
        journals.touch()
    else:
        journals.symlink_to(tmp_path / "nowhere")

    process = roles.start("sender")

    assert process.wait(30) == 78
    (line,) = [line for line in roles.logs().splitlines() if not line.startswith("{")]
    assert line.startswith(f"mailworkers sender: MAIL_STATE_DIR={tmp_path}: ")
    assert str(journals) in line


def test_a_journal_that_is_being_made_is_not_swept_away(tmp_path: Path) -> None:
    """Senders start while others look for what the dead left behind."""
    is_over = threading.Event()

    def sweep() -> None:
        while not is_over.is_set():
            with orphans(tmp_path):
                pass

    sweepers = [threading.Thread(target=sweep) for _ in range(2)]
    for sweeper in sweepers:
        sweeper.start()
    try:
        for _ in range(300):
            journal = SenderJournal(tmp_path)
            assert journal.path.exists()
            journal.close(is_done=True)
    finally:
        is_over.set()
        for sweeper in sweepers:
            sweeper.join()

    assert not list(tmp_path.glob("journals/*.new"))
