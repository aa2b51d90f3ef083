"""The repository as a whole: nothing in it belongs to one machine, and its links lead somewhere."""

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
_MADE = {".git", ".venv", "artifacts", "build", "data", "dist"}
_MADE_ENDINGS = ("__pycache__", "_cache", ".egg-info", ".hypothesis")
# Home directories, work directories, and where one puts what no package manager knows.
_MACHINE = re.compile(r"(?<![\w.~-])/(?:Users|home|mnt|opt|srv|work)/[\w.-]+")
# The second is where ops/install puts the product on every host.
_ALLOWED = {"/opt/homebrew", "/opt/mailworkers", "/home/ada"}
_REGISTRY = re.compile(
    r"\b(?:pypi\.org|pythonhosted\.org|index-url|npmjs\.(?:org|com)|(?:docker|ghcr|quay)\.io)\b"
)


def _files() -> Iterator[Path]:
    """Yield what is ours in the checkout: not what git ignores, nor what tools leave behind."""
    for folder, names, files in os.walk(ROOT):
        names[:] = [n for n in names if n not in _MADE and not n.endswith(_MADE_ENDINGS)]
        yield from (Path(folder) / file for file in files if file not in {".coverage", "LICENSE"})


def _lines(path: Path) -> Iterator[tuple[str, str]]:
    for number, line in enumerate(path.read_text("utf-8", errors="replace").splitlines(), 1):
        yield f"{path.relative_to(ROOT)}:{number}", line


def test_no_path_of_one_machine_is_written_down() -> None:
    """What works here must work in a fresh clone anywhere."""
    found = [
        f"{place}: {path}"
        for file in _files()
        for place, line in _lines(file)
        for path in _MACHINE.findall(line)
        if path not in _ALLOWED
    ]

    assert found == []


def test_no_registry_is_named() -> None:
    """Where packages come from is the business of pip's own configuration."""
    found = [
        place
        for file in _files()
        if file != Path(__file__)
        for place, line in _lines(file)
        if _REGISTRY.search(line)
    ]

    assert found == []


@pytest.mark.parametrize("script", ["run", "test", ".ci/run", "ops/venv.sh"])
def test_a_script_is_valid_for_the_plainest_shell(script: str) -> None:
    """`sh` is dash on Debian: no bash is asked for."""
    checked = subprocess.run(["sh", "-n", ROOT / script], capture_output=True, check=False)

    assert checked.returncode == 0, checked.stderr


def test_links_between_documents_lead_somewhere() -> None:
    """A relative link in a document names a file that exists."""
    broken = [
        f"{place}: {target}"
        for file in _files()
        if file.suffix == ".md"
        for place, line in _lines(file)
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", line)
        if not (file.parent / target).exists()
    ]

    assert broken == []


def test_decisions_are_numbered_without_a_gap() -> None:
    """A decision that no longer holds is superseded by a new one, never removed."""
    numbers = [int(path.name[:4]) for path in sorted((ROOT / "docs" / "decisions").glob("*.md"))]

    assert numbers == list(range(1, len(numbers) + 1))
