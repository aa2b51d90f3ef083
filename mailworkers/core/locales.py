"""Language tags (BCP 47): their canonical form, and what stands in for a missing translation."""

import re
from functools import lru_cache

MAX_LOCALE = 100

# RFC 5646 section 2.1, `langtag`; irregular grandfathered tags and private-use-only tags name no
# language that a catalog could hold.
_LANGTAG = re.compile(
    r"""(?:[a-z]{2,3}(?:-[a-z]{3}){0,3}|[a-z]{4,8})   # language, extended language
        (?:-[a-z]{4})?                                # script
        (?:-(?:[a-z]{2}|[0-9]{3}))?                   # region
        (?:-(?:[a-z0-9]{5,8}|[0-9][a-z0-9]{3}))*      # variants
        (?:-[0-9a-wy-z](?:-[a-z0-9]{2,8})+)*          # extensions
        (?:-x(?:-[a-z0-9]{1,8})+)?                    # private use
    """,
    re.VERBOSE | re.IGNORECASE | re.ASCII,
)
_RIGHT_TO_LEFT = frozenset(
    {"ar", "arc", "ckb", "dv", "fa", "he", "ks", "ps", "sd", "ug", "ur", "yi"}
)
_RIGHT_TO_LEFT_SCRIPTS = frozenset({"Adlm", "Arab", "Hebr", "Nkoo", "Rohg", "Syrc", "Thaa"})


@lru_cache(maxsize=4096)
def canonical_locale(text: str) -> str:
    """Return *text* in the letter case of RFC 5646 section 2.1.1; ValueError when it is no tag."""
    if len(text) > MAX_LOCALE or not _LANGTAG.fullmatch(text):
        hint = '; the separator is "-"' if "_" in text else ""
        raise ValueError(f"is not a language tag of BCP 47{hint}")
    language, *rest = text.lower().split("-")
    subtags = [language]
    in_extension = False
    for subtag in rest:
        subtags.append(subtag if in_extension else _cased(subtag))
        in_extension = in_extension or len(subtag) == 1
    return "-".join(subtags)


def _cased(subtag: str) -> str:
    """Return *subtag*, which follows no singleton, in its case: DE, Latn, or lower."""
    if len(subtag) == 2:
        return subtag.upper()
    return subtag.title() if len(subtag) == 4 and subtag.isalpha() else subtag


def fallbacks(locale: str, default: str) -> list[str]:
    """Return what to look for, best first: `pt-BR` -> `pt` -> *default* (RFC 4647 section 3.4)."""
    chain = []
    subtags = locale.split("-")
    while subtags:
        chain.append("-".join(subtags))
        subtags.pop()
        if subtags and len(subtags[-1]) == 1:  # a singleton means nothing without what followed it
            subtags.pop()
    return chain if default in chain else [*chain, default]


@lru_cache(maxsize=4096)
def direction(locale: str) -> str:
    """Return how text in *locale* runs, as HTML's `dir` says it: `ltr` or `rtl`."""
    language, *rest = locale.split("-")
    scripts = [subtag for subtag in rest if len(subtag) == 4 and subtag.isalpha()]
    right_to_left = scripts[0] in _RIGHT_TO_LEFT_SCRIPTS if scripts else language in _RIGHT_TO_LEFT
    return "rtl" if right_to_left else "ltr"
