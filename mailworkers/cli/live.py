"""A screen that is drawn again and again, on any terminal, and leaves it as it was.

Plain escape sequences that tmux, screen and the console know: the other screen, no cursor, and each
frame written over the last one in one piece, so that nothing flickers. The terminal is restored
however it ends: key, signal, error, suspension.
"""

import os
import select
import shutil
import signal
import sys
import termios
import tty
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any, Self

from mailworkers.cli.output import cut

_ENTER = "\x1b[?1049h\x1b[?25l\x1b[2J"
_LEAVE = "\x1b[?25h\x1b[?1049l"
_HOME, _END_OF_LINE, _END_OF_SCREEN = "\x1b[H", "\x1b[K", "\x1b[J"
_SIGNALS = (signal.SIGWINCH, signal.SIGTERM, signal.SIGHUP, signal.SIGTSTP, signal.SIGCONT)


class Interrupted(Exception):  # noqa: N818
    """The process was told to end: by a signal, or the terminal is gone."""


class LiveScreen:
    """The terminal while it is ours; a context manager. Standard input gives the keys."""

    def __init__(self) -> None:
        self._saved: list[Any] = []
        self._handlers: dict[int, Any] = {}
        self._woken, self._wake = os.pipe()
        self._is_ending = False

    def __enter__(self) -> Self:
        os.set_blocking(self._wake, False)
        self._saved = termios.tcgetattr(sys.stdin.fileno())
        for number in _SIGNALS:
            self._handlers[number] = signal.signal(number, self._note)
        self._take()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._give_back()
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        os.close(self._woken)
        os.close(self._wake)

    @property
    def size(self) -> tuple[int, int]:
        """Return columns and lines, as they are now."""
        found = os.get_terminal_size(sys.stdout.fileno())
        fallback = shutil.get_terminal_size()
        return found.columns or fallback.columns, found.lines or fallback.lines

    def draw(self, lines: Sequence[str]) -> None:
        """Show *lines*, none wider than the screen; what is below it is counted, not shown."""
        width, height = self.size
        shown = list(lines[:height])
        if len(lines) > height:
            missing = len(lines) - height + 1
            shown[-1] = cut(f"... {missing} more lines: make the window taller", width)
        body = f"{_END_OF_LINE}\n".join(shown) + _END_OF_LINE + _END_OF_SCREEN
        self._write(_HOME + body)

    def key(self, seconds: float) -> str:
        """Return the key that was pressed within *seconds*, "" for none or a changed size."""
        ready, _, _ = select.select([sys.stdin.fileno(), self._woken], [], [], max(0.0, seconds))
        if self._woken in ready:
            os.read(self._woken, 4096)
        if self._is_ending:
            raise Interrupted
        if sys.stdin.fileno() not in ready:
            return ""
        pressed = os.read(sys.stdin.fileno(), 64)
        if not pressed:
            raise Interrupted
        return pressed.decode("utf-8", "replace")

    def _take(self) -> None:
        tty.setcbreak(sys.stdin.fileno())
        self._write(_ENTER)

    def _give_back(self) -> None:
        with _whatever_is_gone():
            self._write(_LEAVE)
        with _whatever_is_gone():
            termios.tcsetattr(sys.stdin.fileno(), termios.TCSADRAIN, self._saved)

    def _note(self, number: int, _frame: FrameType | None) -> None:
        if number == signal.SIGTSTP:
            self._give_back()
            os.kill(os.getpid(), signal.SIGSTOP)
        elif number == signal.SIGCONT:
            self._take()
        elif number != signal.SIGWINCH:
            self._is_ending = True
        with _whatever_is_gone():
            os.write(self._wake, b".")

    def _write(self, text: str) -> None:
        sys.stdout.write(text)
        sys.stdout.flush()


@contextmanager
def _whatever_is_gone() -> Iterator[None]:
    """Pass over a terminal that was closed meanwhile, or a pipe that is full."""
    try:
        yield
    except (OSError, termios.error):
        return
