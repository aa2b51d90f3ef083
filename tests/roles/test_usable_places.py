"""Places that settings name: what is wrong with them is the operator's, what is full is not."""

import errno
import os
from pathlib import Path

import pytest

from mailworkers.adapters.usable_places import usable_places
from mailworkers.core.errors import ConfigError

STATE = Path("/a/b/state")


def _complaint(places: dict[str, Path], number: int, file: str) -> str:
    with pytest.raises(ConfigError) as caught, usable_places(places):
        raise OSError(number, os.strerror(number), file)
    return str(caught.value)


@pytest.mark.parametrize(
    "number",
    [errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.ENOENT, errno.EEXIST],
)
@pytest.mark.parametrize("file", ["/a", "/a/b/state", "/a/b/state/metrics"])
def test_a_place_that_cannot_be_used_is_a_wrong_setting(number: int, file: str) -> None:
    """Whether it is the place, something in it, or a directory on the way to it."""
    complaint = _complaint({"MAIL_STATE_DIR": STATE}, number, file)

    assert complaint.startswith(f"MAIL_STATE_DIR=/a/b/state: {os.strerror(number)}")
    assert "\n" not in complaint


def test_the_innermost_place_is_named() -> None:
    """A log directory inside the state directory is SUPERVISOR_LOG_DIR's."""
    places = {"MAIL_STATE_DIR": STATE, "SUPERVISOR_LOG_DIR": STATE / "log"}

    assert _complaint(places, errno.EACCES, str(STATE / "log/x")).startswith("SUPERVISOR_LOG_DIR=")
    assert _complaint(places, errno.EACCES, str(STATE / "x")).startswith("MAIL_STATE_DIR=")


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "no space", str(STATE / "x")),
        OSError(errno.EIO, "input/output error", str(STATE / "x")),
        OSError(errno.EACCES, "denied", "/etc/shadow"),
        OSError(errno.EACCES, "denied"),
        ValueError("no file at all"),
    ],
)
def test_what_no_other_setting_would_cure_is_left_as_it_is(error: Exception) -> None:
    """A full or failing disk, other files, and other errors."""
    with pytest.raises(type(error)) as caught, usable_places({"MAIL_STATE_DIR": STATE}):
        raise error

    assert caught.value is error
