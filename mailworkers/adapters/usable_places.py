"""Files and directories that settings name: one that cannot be used is a wrong setting."""

import errno
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from mailworkers.core.errors import ConfigError

# What only another path, or other rights, can change. A full or failing disk is no wrong setting.
_WRONG = frozenset(
    {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.ENOENT, errno.EEXIST}
)


@contextmanager
def usable_places(places: Mapping[str, Path]) -> Iterator[None]:
    """Do something with *places*, each by the name of its setting (`MAIL_STATE_DIR`, `--data`).

    Raises ConfigError, one line, where one of them cannot be used; every other error as it is.
    """
    try:
        yield
    except OSError as error:
        name = _find_setting(error, places) if error.errno in _WRONG else None
        if name is None:
            raise
        raise ConfigError(_complaint(name, places[name], error)) from error


def _find_setting(error: OSError, places: Mapping[str, Path]) -> str | None:
    """Return whose place *error* is about: the innermost that holds its file, or lies below it."""
    if not isinstance(error.filename, str | bytes | os.PathLike):
        return None
    found = Path(os.fsdecode(error.filename))
    holding = {name: place for name, place in places.items() if found.is_relative_to(place)}
    if holding:
        return max(holding, key=lambda name: len(holding[name].parts))
    return next((name for name, place in places.items() if place.is_relative_to(found)), None)


def _complaint(name: str, place: Path, error: OSError) -> str:
    found = os.fsdecode(error.filename)
    at = "" if found == str(place) else f" ({found})"
    return (
        f"{name}={place}: {error.strerror}{at}; name a directory that this account can make and "
        "write"
    )
