"""What a check of `mailworkers doctor` says: one line, well or not, and what to do about it."""

import msgspec


class Finding(msgspec.Struct, frozen=True):
    """What was looked at, whether it is well, what was seen, and what to do when it is not."""

    check: str
    ok: bool
    detail: str
    advice: str = ""


def fine(check: str, detail: str) -> Finding:
    """Return that *check* is well."""
    return Finding(check, ok=True, detail=detail)


def wrong(check: str, detail: str, advice: str = "") -> Finding:
    """Return that *check* is not well, and what to do."""
    return Finding(check, ok=False, detail=detail, advice=advice)


def judge(check: str, is_well: bool, detail: str, advice: str) -> Finding:
    """Return *detail* either way, and *advice* when it is not well."""
    return fine(check, detail) if is_well else wrong(check, detail, advice)
