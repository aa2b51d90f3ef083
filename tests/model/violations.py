"""What the model raises when a promise is broken."""


class Violation(AssertionError):  # noqa: N818  it names what is wrong
    """An invariant does not hold; the message names it by its id and says where."""
