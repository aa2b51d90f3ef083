"""Chance as numbers: one number says everything that a step leaves open."""


class Pick:
    """Takes one choice after the other out of *number*; of 0 every choice is the first.

    So a smaller number is a simpler step, for Hypothesis and for our own shrinking.
    """

    __slots__ = ("_rest",)

    def __init__(self, number: int) -> None:
        self._rest = number

    def __call__(self, choices: int) -> int:
        """Return a number below *choices*."""
        self._rest, found = divmod(self._rest, choices)
        return found
