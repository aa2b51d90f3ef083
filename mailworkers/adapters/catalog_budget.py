"""How much one rendering may do: counted in steps, so it is the same on every machine.

A clock would refuse good mail on a busy host and let a thread run on in one C call. So every loop,
call, filter and comparison of a compiled template pays for what it is about to do, before it does
it, and nothing that grows may grow beyond what could be sent (docs/decisions/0016).
"""

import threading
from collections.abc import Iterable, Iterator, Sized
from typing import Any, NoReturn

from jinja2.exceptions import SecurityError
from markupsafe import Markup

MAX_TEXT = 2 * 1024 * 1024  # characters: of one part as it is sent, and of any text on the way
MAX_STEPS = 1_000_000  # a few hundred milliseconds of work
PER_STEP = 16  # characters that are copied, searched or compared for one step
_TEXTS = (str, Markup)
_CONTAINERS = (list, dict, tuple)
_NUMBERS = (int, bool, float, type(None))


class Budget(threading.local):
    """The steps that are left to the rendering of this thread; none outside of one."""

    left = 0

    def refill(self) -> None:
        """Begin a new rendering."""
        self.left = MAX_STEPS

    def charge(self, steps: int) -> None:
        """Pay for *steps*; SecurityError when so many are not left."""
        self.left -= steps
        if self.left < 0:
            raise SecurityError(f"more than {MAX_STEPS} steps")

    def charge_text(self, length: int) -> None:
        """Pay for making or reading a text of *length*; SecurityError when it is too long."""
        if length > MAX_TEXT:
            refuse_length()
        self.charge(length // PER_STEP)

    def weigh(self, value: Any) -> int:
        """Pay for all that *value* holds, at every depth; return how many steps that was."""
        before = self.left
        waiting = [value]
        while waiting:
            item = waiting.pop()
            if isinstance(item, str):
                self.charge(1 + len(item) // PER_STEP)
            elif isinstance(item, dict):
                self.charge(1 + len(item))
                waiting.extend(item.values())
            elif isinstance(item, _CONTAINERS):
                self.charge(1 + len(item))
                waiting.extend(item)
            else:
                self.charge(1)
        return before - self.left

    def compared(self, value: Any) -> Any:
        """Return *value* after paying for a comparison that goes through all of it."""
        kind = type(value)
        if kind in _NUMBERS:
            return value
        if kind in _TEXTS:
            self.charge(1 + len(value) // PER_STEP)
        elif kind in _CONTAINERS:
            self.weigh(value)
        elif isinstance(value, Sized):
            self.charge(len(value))
        return value

    def each(self, iterable: Any, weight: int) -> Any:
        """Return *iterable* for a loop whose body has *weight* nodes, paid for."""
        if isinstance(iterable, Sized):
            self.charge(len(iterable) * weight)
            return iterable
        return self.counted(iterable, weight)

    def counted(self, iterable: Iterable[Any], weight: int = 1) -> Iterator[Any]:
        """Yield the items of *iterable*, each paid for when it is taken."""
        for item in iterable:
            self.charge(weight)
            yield item

    def concat(self, pieces: Iterable[str]) -> str:
        """Return *pieces*, each a text, as one; it is paid for before it is made."""
        pieces = list(pieces)
        self.charge_text(sum(map(len, pieces)))
        return "".join(pieces)


def refuse_length() -> NoReturn:
    """Raise what a text that is too long ends with."""
    raise SecurityError(f"more than {MAX_TEXT} characters")
