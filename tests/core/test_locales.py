"""Language tags: the canonical form, what is none, and the chain of what stands in."""

import pytest

from mailworkers.core.locales import canonical_locale, direction, fallbacks


@pytest.mark.parametrize(
    ("given", "canonical"),
    [
        ("EN", "en"),
        ("de-de", "de-DE"),
        ("PT-br", "pt-BR"),
        ("zh-hant-tw", "zh-Hant-TW"),
        ("SR-LATN-rs", "sr-Latn-RS"),
        ("es-419", "es-419"),
        ("sl-ROZAJ-biske", "sl-rozaj-biske"),
        ("de-CH-1996", "de-CH-1996"),
        ("en-CA-X-CA", "en-CA-x-ca"),
        ("AZ-arab-x-AZE-derbend", "az-Arab-x-aze-derbend"),
        ("en-u-CA-gregory", "en-u-ca-gregory"),
        ("zh-cmn-hans-cn", "zh-cmn-Hans-CN"),
        ("haw", "haw"),
    ],
)
def test_a_language_tag_has_one_canonical_form(given: str, canonical: str) -> None:
    """RFC 5646 section 2.1.1: en-CA-x-ca and az-Arab are its own examples."""
    assert canonical_locale(given) == canonical
    assert canonical_locale(canonical) == canonical


@pytest.mark.parametrize(
    "given",
    [
        *("", "e", "de_DE", "de-", "-de", "de--DE", "german-language-x", "de-DE-", "d3", "dé"),
        *("de DE", "../en", "en\n", "en\0", "x-private", "i-klingon", "*", "a" * 9),
        "en" + "-abcdef" * 20,
    ],
)
def test_what_is_no_language_tag_is_refused(given: str) -> None:
    """RFC 5646 section 2.1; tags that name no language that could be written are none to us."""
    with pytest.raises(ValueError, match="is not a language tag of BCP 47"):
        canonical_locale(given)


@pytest.mark.parametrize(
    ("locale", "chain"),
    [
        ("pt-BR", ["pt-BR", "pt", "en"]),
        ("zh-Hant-TW", ["zh-Hant-TW", "zh-Hant", "zh", "en"]),
        ("en-GB", ["en-GB", "en"]),
        ("en", ["en"]),
        ("en-x-ca", ["en-x-ca", "en"]),
        ("de-u-ca-gregory", ["de-u-ca-gregory", "de-u-ca", "de", "en"]),
    ],
)
def test_a_locale_falls_back_to_wider_ones_and_then_to_the_default(
    locale: str, chain: list[str]
) -> None:
    """RFC 4647 section 3.4: subtags fall off the end, and no singleton is left there."""
    assert fallbacks(locale, "en") == chain


@pytest.mark.parametrize(
    ("locale", "runs"),
    [("en", "ltr"), ("ar", "rtl"), ("he-IL", "rtl"), ("az-Arab", "rtl"), ("ur-Latn", "ltr")],
)
def test_a_locale_says_how_its_text_runs(locale: str, runs: str) -> None:
    """The script decides where it is named, else the language's usual one."""
    assert direction(locale) == runs
