"""Releases beside each other: which one is current, which are kept, what is no release."""

import os
import shutil
import sys
from pathlib import Path

from tests.ops.parts import make_release, parts
from tests.ops.unit_files import ROOT


def _current(host: Path) -> str:
    return os.path.basename(os.readlink(host / "opt/mailworkers/current"))


def test_switching_remembers_where_we_came_from(host: Path) -> None:
    """`previous` is what a rollback goes to."""
    make_release(host, "1-a")
    make_release(host, "2-b")

    parts(host, 'switch_to "$RELEASES/1-a"; switch_to "$RELEASES/2-b"')

    assert _current(host) == "2-b"
    assert os.path.basename(os.readlink(host / "opt/mailworkers/previous")) == "1-a"


def test_switching_to_where_we_are_keeps_the_way_back(host: Path) -> None:
    """Done twice, a rollback would otherwise have nowhere to go."""
    make_release(host, "1-a")
    make_release(host, "2-b")

    parts(host, 'for r in 1-a 2-b 2-b; do switch_to "$RELEASES/$r"; done')

    assert os.path.basename(os.readlink(host / "opt/mailworkers/previous")) == "1-a"


def test_what_was_interrupted_is_no_release(host: Path) -> None:
    """Without its last file it is neither listed nor switched to, and the next build removes it."""
    make_release(host, "1-a")
    (host / "opt/mailworkers/releases/2-b/bin").mkdir(parents=True)

    listed = parts(host, "list_releases; remove_incomplete >/dev/null; ls $RELEASES").stdout

    assert [Path(line).name for line in listed.split()] == ["1-a", "1-a"]


def test_old_releases_go_but_for_those_in_use(host: Path) -> None:
    """The current and the previous one stay, however old they are."""
    for number in range(1, 7):
        make_release(host, f"{number}-x")

    parts(host, 'switch_to "$RELEASES/1-x"; switch_to "$RELEASES/2-x"; prune_releases 2')

    left = sorted(path.name for path in (host / "opt/mailworkers/releases").iterdir())
    assert left == ["1-x", "2-x", "5-x", "6-x"]


def test_the_same_source_is_recognised_and_a_changed_one_too(host: Path) -> None:
    """Bytecode and what git ignores do not count."""
    source = host / "source"
    (source / "mailworkers/__pycache__").mkdir(parents=True)
    (source / "setup.cfg").write_text("one")

    first = parts(host, f"digest_of {source}").stdout
    (source / "mailworkers/__pycache__/a.pyc").write_text("x")
    same = parts(host, f"digest_of {source}").stdout
    (source / "setup.cfg").write_text("two")
    other = parts(host, f"digest_of {source}").stdout

    assert len(first.strip()) == 64
    assert first == same != other


def test_a_directory_that_is_no_product_is_refused(host: Path) -> None:
    """Named by mistake, it must not become an empty release."""
    refused = parts(host, f"check_source {host}")

    assert refused.returncode == 1
    assert "no tree of mailworkers" in refused.stderr


def test_a_release_that_is_there_is_its_own_source(host: Path) -> None:
    """The scripts of the current release complete an installation without another tree."""
    release = make_release(host, "1-a", digest="d")

    assert parts(host, f"check_source {release}; digest_of {release}").stdout == "d\n"


def test_a_release_whose_python_is_gone_is_made_anew(host: Path) -> None:
    """After an upgrade of Debian a virtual environment may have no interpreter any more."""
    make_release(host, "1-a", digest="d", extras="templates")

    found = parts(host, "find_release d")

    assert found.stdout == ""


def test_a_dead_supervisord_is_not_taken_for_a_live_one(host: Path) -> None:
    """Its pid file stays after a crash, and the number may be somebody else's by now."""
    (host / "var/lib/mailworkers").mkdir(parents=True)
    (host / "var/lib/mailworkers/supervisord.pid").write_text(f"{os.getpid()}\n")

    assert parts(host, "supervisord_pid").stdout == ""


def _release_of(host: Path, name: str, *, oldest_code: int = 1) -> Path:
    """A release that runs this product, its newest migration asking for code of *oldest_code*."""
    release = make_release(host, name)
    for part in ("mailworkers", "sql"):
        shutil.copytree(ROOT / part, release / part, ignore=shutil.ignore_patterns("__pycache__"))
    python = release / "bin/python"
    python.write_text(f'#!/bin/sh\nPYTHONPATH={release} exec {sys.executable} "$@"\n')
    python.chmod(0o755)
    if oldest_code > 1:
        row = f"INTO schema_versions (version, oldest_code) VALUES (2, {oldest_code});\n"
        (release / "sql/migrations/0002_narrow.sql").write_text(row)
    return release


def test_a_schema_that_only_widens_leaves_a_way_back(host: Path) -> None:
    """The present code runs on it: an upgrade may be taken back."""
    old, new = _release_of(host, "1-a"), _release_of(host, "2-b")

    done = parts(host, f"check_way_back {old} {new}")

    assert done.returncode == 0, done.stderr


def test_a_schema_that_excludes_the_present_code_is_refused(host: Path) -> None:
    """Told before anything is changed, with what can be done about it."""
    old, new = _release_of(host, "1-a"), _release_of(host, "2-b", oldest_code=2)

    refused = parts(host, f"check_way_back {old} {new}")

    assert refused.returncode == 1
    assert "no way back" in refused.stderr
    assert "--one-way" in refused.stderr


def test_supervisord_is_restarted_only_when_it_has_changed(host: Path) -> None:
    """Roles alone are restarted one by one; a changed plugin is loaded by a new supervisord."""
    old, new = _release_of(host, "1-a"), _release_of(host, "2-b")
    for release in (old, new):
        (release / "share/mailworkers").mkdir(parents=True)
        (release / "share/mailworkers/supervisord.conf").write_text("[supervisord]\n")
    question = f"if needs_new_supervisord {old} {new}; then echo yes; else echo no; fi"

    same = parts(host, question).stdout
    with (new / "mailworkers/adapters/supervisor_plugin.py").open("a") as plugin:
        plugin.write("# changed\n")
    changed = parts(host, question).stdout

    assert (same, changed) == ("no\n", "yes\n")
