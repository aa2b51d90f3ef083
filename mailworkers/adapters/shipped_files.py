"""Files beside the code: of the checkout this package lies in, or as they were installed."""

from importlib.metadata import PackageNotFoundError, files
from pathlib import Path

_CHECKOUT = Path(__file__).resolve().parents[2]


def find_shipped(path: str) -> Path | None:
    """Return the file that is *path* in a checkout; None where the installation lacks it."""
    there = _CHECKOUT / path
    if there.is_file():
        return there
    try:
        installed = files("mailworkers") or []
    except PackageNotFoundError:
        installed = []
    for file in installed:
        if file.name == there.name:
            return Path(str(file.locate())).resolve()
    return None
