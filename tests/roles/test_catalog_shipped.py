"""The catalog that comes with mailworkers: whole, translated, accessible, worth copying."""

import re
from html.parser import HTMLParser

import pytest
from jinja2 import meta

from mailworkers.adapters.catalog import Catalog, examine, packaged_directory
from mailworkers.adapters.catalog_sandbox import Sandbox
from mailworkers.adapters.template_files import read_templates
from mailworkers.core.html_places import Place
from mailworkers.core.intake import Rendered
from mailworkers.core.mime import compose
from mailworkers.core.states import Lane
from tests.core.messages import DATE, MESSAGE_ID, assert_fit_for_the_wire, message
from tests.core.readings import by_mailparse, by_stdlib, intended, settled

CATALOG = Catalog.load(packaged_directory())
LOCALES = {"ar", "de", "en", "ja"}
PAGES = [(template_id, locale) for template_id in CATALOG.templates for locale in sorted(LOCALES)]


def rendered(template_id: str, locale: str, **variables: object) -> Rendered:
    """Return a page with its samples, or with other values."""
    samples = CATALOG.templates[template_id].contract.examples()
    return CATALOG.render(template_id, locale, {**samples, **variables})


class Elements(HTMLParser):
    """The tags of a page, in order, with their attributes."""

    def __init__(self, page: str | None) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(str(page))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep one tag."""
        self.found.append((tag, dict(attrs)))

    def all(self, name: str) -> list[dict[str, str | None]]:
        """Return the attributes of each element of this name."""
        return [attributes for tag, attributes in self.found if tag == name]


def test_five_templates_in_four_languages_without_a_warning() -> None:
    """Login code, welcome, password reset, receipt, digest; one language runs from the right."""
    _, problems = examine(packaged_directory())

    assert problems == []
    assert CATALOG.templates.keys() == {
        *("login-code", "password-reset", "receipt", "weekly-digest", "welcome"),
    }
    assert all(template.pages.keys() == LOCALES for template in CATALOG.templates.values())


def test_a_file_that_was_studied_is_compiled_to_what_it_would_be_without() -> None:
    """Each is written once, for its review, and not again when it is loaded."""
    sources = dict(read_templates(packaged_directory()).sources)
    studied, plain = Sandbox(sources), Sandbox(sources)
    names = [name for name in sources if name.endswith((".txt", ".html"))]
    missing = {name: studied.study(name)[1] for name in names}

    for name in names:
        assert missing[name] == meta.find_undeclared_variables(plain.parse(sources[name], name))
        assert studied.compile("not read", name, name) == plain.compile(sources[name], name, name)


@pytest.mark.parametrize(("template_id", "locale"), PAGES)
def test_a_page_says_its_language_and_direction_and_what_its_tables_are(
    template_id: str, locale: str
) -> None:
    """For screen readers, translators and clients that drop <html>: on the article as well."""
    page = Elements(rendered(template_id, locale).html)

    expected = {"lang": locale, "dir": "rtl" if locale == "ar" else "ltr"}
    article = next(a for _, a in page.found if a.get("role") == "article")
    assert page.all("html")[0].items() >= expected.items()
    assert article.items() >= expected.items()
    assert all("alt" in image for image in page.all("img"))
    assert all(header.get("scope") for header in page.all("th"))
    tables = page.all("table")
    assert [t.get("role") for t in tables] == ["presentation"] + [None] * (len(tables) - 1)
    assert len(page.all("h1")) == 1


@pytest.mark.parametrize(("template_id", "locale"), PAGES)
def test_a_page_is_small_follows_dark_mode_and_loads_nothing(template_id: str, locale: str) -> None:
    """No picture, font or script from elsewhere: nothing is blocked, nobody is tracked."""
    made = rendered(template_id, locale)
    html = str(made.html)

    assert len(html.encode()) < 5000
    assert "prefers-color-scheme: dark" in html
    assert 'name="color-scheme" content="light dark"' in html
    assert not re.search(r"src=|url\(|@import|<script|<link", html)
    assert "{{" not in f"{made.subject}{made.text}{html}"
    place = Place()
    place.read(html)
    assert place.within == "text"


@pytest.mark.parametrize(("template_id", "locale"), PAGES)
def test_parsers_read_in_the_message_what_the_template_says(template_id: str, locale: str) -> None:
    """In every script, and with the headers of its kind of mail."""
    made = rendered(template_id, locale)
    asked = message(subject=made.subject, text=made.text, html=made.html, headers=made.mail.headers)
    mime = compose(asked, message_id=MESSAGE_ID, date=DATE)

    for read in (by_stdlib, by_mailparse):
        assert settled(read(mime)) == settled(intended(asked))
    assert_fit_for_the_wire(mime)


@pytest.mark.parametrize(("template_id", "locale"), PAGES)
def test_text_and_html_say_the_same(template_id: str, locale: str) -> None:
    """Every sample that one shows, the other shows: readers choose by taste."""
    made = rendered(template_id, locale)
    shown = re.sub(r"<[^>]+>", " ", str(made.html)).replace("&lt;", "<").replace("&gt;", ">")
    shown = shown.replace("&amp;", "&")

    for name, value in CATALOG.templates[template_id].contract.examples().items():
        if isinstance(value, str) and name not in ("product", "unsubscribe_url"):
            assert (value in str(made.text)) is (value in shown), name
    for link in Elements(made.html).all("a"):
        assert str(link["href"]) in str(made.text)


@pytest.mark.parametrize("template_id", CATALOG.templates)
def test_from_right_to_left_values_keep_their_order(template_id: str) -> None:
    """An order 2026-004711 would read 004711-2026; codes and links are to be copied as they are."""
    made = rendered(template_id, "ar")
    lines = f"{made.subject}\n{made.text}".splitlines()

    for name, value in CATALOG.templates[template_id].contract.examples().items():
        if value and isinstance(value, str) and name != "code" and not value.startswith("https:"):
            shown = [line for line in lines if value in line]
            assert shown
            assert all(f"\u2068{value}\u2069" in line for line in shown), name
    assert not [line for line in lines if "https:" in line and "\u2068" in line]
    html = str(made.html)
    assert not re.search(r"[\u2066-\u2069]", html)


@pytest.mark.parametrize("locale", sorted(LOCALES))
def test_a_language_is_not_another_one(locale: str) -> None:
    """No page was copied and forgotten."""
    letters = {
        "ar": r"[\u0600-\u06ff]",
        "ja": r"[\u3040-\u30ff]",
        "de": r"\b(Sie|Ihr)",
        "en": r"\b[Yy]ou",
    }
    for template_id in CATALOG.templates:
        made = rendered(template_id, locale)
        if template_id != "receipt":
            assert re.search(letters[locale], str(made.text)), template_id
            assert re.search(letters[locale], str(made.html)), template_id
        assert {made.subject, *str(made.text).splitlines()} & {
            rendered(template_id, other).subject for other in LOCALES - {locale}
        } == set()


@pytest.mark.parametrize(
    ("locale", "minutes", "said"),
    [
        ("en", 1, "within 1 minute."),
        ("en", 5, "within 5 minutes."),
        ("de", 1, "1 Minute lang."),
        ("de", 5, "5 Minuten lang."),
        ("ar", 5, "5 دقائق."),
        ("ar", 15, "15 دقيقة."),
        ("ar", 105, "105 دقائق."),
        ("ja", 1, "1分以内"),
    ],
)
def test_minutes_are_counted_as_the_language_does(locale: str, minutes: int, said: str) -> None:
    """Arabic has the plural for 3 to 10 only."""
    made = rendered("login-code", locale, minutes=minutes)

    assert said in str(made.text)
    assert said in str(made.html)


def test_the_receipt_shows_its_items_as_text_and_as_a_table() -> None:
    """One row an item; a value with markup stays text; the note only where there is one."""
    made = rendered("receipt", "en", note="See you & soon")

    assert "12 x Pencil <HB>: 8.40 EUR" in str(made.text)
    table = str(made.html).partition('class="list"')[2].partition("</table>")[0]
    assert table.count("<tr>") == 4
    assert "Pencil &lt;HB&gt;" in str(made.html)
    assert str(made.text).rstrip().endswith("\nSee you & soon")
    assert "See you" not in str(rendered("receipt", "en", note="").text)


def test_the_digest_is_bulk_mail_that_one_click_ends() -> None:
    """RFC 8058, List-Id, a life of two days; without news it says so."""
    made = rendered("weekly-digest", "de", unsubscribe_url="https://example.com/u/9")

    assert made.mail.lane is Lane.BULK
    assert dict(made.mail.headers) == {
        "List-Id": "Weekly digest <weekly-digest.example.com>",
        "List-Unsubscribe": "<https://example.com/u/9>",
        "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
    }
    assert "Es gibt nichts Neues" in str(rendered("weekly-digest", "de", stories=[]).html)


@pytest.mark.parametrize("template_id", ["login-code", "password-reset"])
def test_what_signs_people_in_is_auth_mail(template_id: str) -> None:
    """Only few may read its content, and it never arrives late."""
    assert rendered(template_id, "en").mail.lane is Lane.AUTH


@pytest.mark.parametrize(
    "hostile", ["</a><script>", '"><img src=x onerror=1>', "'onmouseover='", "<!--", "&lt;b&gt;"]
)
@pytest.mark.parametrize("locale", sorted(LOCALES))
def test_a_value_never_becomes_an_element(hostile: str, locale: str) -> None:
    """X-11: the tree of elements is that of neutral values."""

    def hostile_in(value: object) -> object:
        match value:
            case str():
                return value if value.startswith("https:") else hostile
            case list():
                return [hostile_in(item) for item in value]
            case dict():
                return {key: hostile_in(item) for key, item in value.items()}
        return value

    for template_id, template in CATALOG.templates.items():
        neutral = {**template.contract.examples()}
        if "note" in neutral:
            neutral["note"] = "neutral"
        typed = template.contract.variables
        filled = {
            name: hostile_in(value) if typed[name].type in ("string", "list") else value
            for name, value in neutral.items()
        }
        pages = [
            Elements(CATALOG.render(template_id, locale, values).html).found
            for values in (neutral, filled)
        ]

        assert [(tag, [*attrs]) for tag, attrs in pages[1]] == [
            (tag, [*attrs]) for tag, attrs in pages[0]
        ]
