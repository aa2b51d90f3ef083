"""What a wheel carries: the package list is the tree, and the data comes along."""

import configparser
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
_BESIDE = {"mailworkers.sql", "mailworkers.templates"}  # at the top of the checkout


@pytest.fixture
def setup_cfg() -> configparser.ConfigParser:
    """Return the project's metadata."""
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg", encoding="utf-8")
    return parser


def test_the_list_of_packages_is_the_tree(setup_cfg: configparser.ConfigParser) -> None:
    """A new folder that is not listed would be missing from the wheel, and only there."""
    folders = {path.parent for path in (ROOT / "mailworkers").rglob("*.py")}
    found = {".".join(folder.relative_to(ROOT).parts) for folder in folders}

    listed = set(setup_cfg["options"]["packages"].split())

    assert listed == found | _BESIDE


def test_every_file_that_is_no_code_is_packaged(setup_cfg: configparser.ConfigParser) -> None:
    """Pages, styles and the like are found by a pattern of `package_data`."""
    patterns = setup_cfg["options.package_data"]
    missing = []
    for package, globs in patterns.items():
        top = ROOT / package.removeprefix("mailworkers.") if package in _BESIDE else None
        folder = top or ROOT / Path(*package.split("."))
        carried = {
            path for glob in globs.split(",") for path in folder.glob(glob.strip().strip("\n"))
        }
        files = folder.rglob("*") if package in _BESIDE else folder.glob("*")
        missing += [
            path
            for path in files
            if path.is_file() and path.suffix not in {".py", ".pyc"} and path not in carried
        ]

    assert missing == []
