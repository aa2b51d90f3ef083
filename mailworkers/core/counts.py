"""How numbers of things are written for people, on pages and terminals alike."""


def count(number: float) -> str:
    """Return *number* with its thousands apart."""
    return f"{number:,.0f}"


def plural(number: int, noun: str, many: str | None = None) -> str:
    """Return *number* and *noun* as they belong together: `1 attempt`, `2 attempts`."""
    return f"{count(number)} {noun if number == 1 else many or noun + 's'}"
