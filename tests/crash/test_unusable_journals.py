"""A sender that cannot have a journal does not work: that is its operator's to mend."""

from pathlib import Path

import pytest

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
