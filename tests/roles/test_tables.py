"""Tables fit the terminal, whatever stands in them; in a pipe nothing is cut."""

import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios
from typing import Any

import psycopg
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mailworkers.cli.output import cut, width_of
from mailworkers.cli.tables import fit, print_table, wrap
from tests.deliveries import accept, new_delivery
from tests.roles.test_cli import Run, environ, here, run

__all__ = ["environ", "here", "run"]

Connection = psycopg.Connection[tuple[Any, ...]]
TEXT = st.text(st.characters(blacklist_categories=["Cc", "Cs"]), max_size=40)


@pytest.mark.parametrize(
    ("text", "width"),
    [("abc", 3), ("你好", 4), ("ｗ", 2), ("e\u0301", 1), ("👍", 2), ("", 0), ("مرحبا", 5)],
)
def test_columns_are_counted_as_a_terminal_counts_them(text: str, width: int) -> None:
    """Wide characters take two, combining marks none."""
    assert width_of(text) == width


@pytest.mark.parametrize(
    ("text", "width", "shown"),
    [
        ("abcdef", 6, "abcdef"),
        ("abcdef", 5, "abcd…"),
        ("你好世界", 5, "你好…"),
        ("你好世界", 4, "你…"),
        ("abc", 1, "…"),
        ("abc", 0, ""),
    ],
)
def test_what_is_cut_ends_in_an_ellipsis_within_its_room(text: str, width: int, shown: str) -> None:
    """A wide character that would not fit whole is left out whole."""
    assert cut(text, width) == shown


@settings(max_examples=200, deadline=None)
@given(TEXT, st.integers(1, 30))
@example("6%4 ;m`^;n\xad{r\ufe0f", 7)
def test_cutting_and_wrapping_never_exceed_their_room(text: str, width: int) -> None:
    """Of whatever characters; wrapping loses nothing but spaces."""
    lines = list(wrap(text, max(width, 2)))

    assert width_of(cut(text, width)) <= width
    assert all(width_of(line) <= max(width, 2) for line in lines)
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")


def test_the_widest_gives_way_first_and_ids_last() -> None:
    """Nobody is narrowed below six columns: a line that does not fit then is wider."""
    assert fit([36, 30, 10], 70, {0}) == [36, 20, 10]
    assert fit([36, 30, 10], 40, {0}) == [24, 6, 6]
    assert fit([5, 5], 80, set()) == [5, 5]
    assert sum(fit([20] * 10, 30, set())) == 60


def _in_terminal(environ: dict[str, str], *command: str, columns: int) -> str:
    """Return what *command* shows on a terminal of so many columns."""
    master, terminal = pty.openpty()
    surroundings = {**os.environ, **environ, "TERM": "xterm", "NO_COLOR": "1"}
    surroundings.pop("COLUMNS", None)  # of the tests' own terminal
    fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    with subprocess.Popen(
        [sys.executable, *command],
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        env=surroundings,
    ) as process:
        os.close(terminal)
        shown = b""
        while True:
            try:
                part = os.read(master, 65536)
            except OSError:  # Linux' word for the end of a terminal
                break
            if not part:
                break
            shown += part
    os.close(master)
    assert process.returncode == 0, shown
    return shown.decode().replace("\r\n", "\n")


@pytest.mark.parametrize(
    "columns",
    [80, 120, *(pytest.param(columns, marks=pytest.mark.slow) for columns in (60, 200))],
)
def test_a_list_fits_the_terminal_and_keeps_its_ids(
    run: Run, here: dict[str, str], conn: Connection, columns: int
) -> None:
    """Other columns are left out or cut; a pipe gets all of it."""
    new = new_delivery("very.long.address.of.somebody@a-long-name.of-a-domain.example.com")
    accept(conn, new)

    shown = _in_terminal(here, "-m", "mailworkers", "deliveries", "list", columns=columns)
    piped = run("deliveries", "list").stdout

    assert max(map(width_of, shown.splitlines())) <= columns
    assert str(new.delivery_id) in shown
    assert ("notification" in shown) == (columns >= 120)
    assert "very.long.address.of.somebody@a-long-name.of-a-domain.example.com" in piped
    assert "notification" in piped


def test_what_must_be_read_whole_goes_on_in_the_next_line(here: dict[str, str]) -> None:
    """The settings: their values are wrapped, nothing is lost."""
    shown = _in_terminal(here, "-m", "mailworkers", "config", columns=70)

    assert max(map(width_of, shown.splitlines())) <= 70
    assert "…" not in shown


def test_hostile_cells_stay_in_their_cells(capsys: pytest.CaptureFixture[str]) -> None:
    """Line breaks and escapes are shown, not obeyed."""
    print_table(("a", "b"), [("x\ny\x1b[2J", "z")])

    assert capsys.readouterr().out == "a            b\nx\\ny\\x1b[2J  z\n"
