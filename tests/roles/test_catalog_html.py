"""Where a value may stand in HTML, and what it may be there (X-11)."""

from collections.abc import Callable
from pathlib import Path

import pytest

from mailworkers.adapters.catalog import Catalog
from mailworkers.core.errors import ConfigError, TemplateError

CONTRACT = """\
description = "Links"
[variables.shop]
type = "object"
description = "With `url` and `colour`"
sample = { url = "https://example.com/", colour = "#0a0" }
[variables.link]
type = "url"
description = "A link"
default = "https://example.com/a?b=1&c=2"
[variables.text]
type = "string"
description = "Any text"
default = ""
"""
Load = Callable[[str], Catalog]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Return a function that loads a catalog with one page of HTML."""

    def load_page(html: str) -> Catalog:
        page = tmp_path / "page" / "en"
        page.mkdir(parents=True)
        (tmp_path / "page" / "contract.toml").write_text(CONTRACT)
        (page / "subject.txt").write_text("x{# {{ text }}{{ link }}{{ shop.url }} #}")
        (page / "body.txt").write_text("x")
        (page / "body.html").write_text(html)
        return Catalog.load(tmp_path)

    return load_page


def html_of(catalog: Catalog, **shop: str) -> str:
    """Return the page for a shop."""
    shown = {"url": "https://example.com/", "colour": "#0a0", **shop}
    return str(catalog.render("page", "en", {"shop": shown, "text": shop.get("text", "")}).html)


HOSTILE_LINKS = [
    "javascript:alert(1)",
    " javascript:alert(1)",
    "JaVaScRiPt:alert(1)",
    "java\tscript:alert(1)",
    "java\nscript:alert(1)",
    "\x01javascript:alert(1)",
    "javascript&colon;alert(1)",
    "data:text/html,<script>alert(1)</script>",
    "vbscript:x",
    "file:///etc/passwd",
    "//example.com",
    "/path",
    "https:",
    "https: //example.com",
    "https://example.com/\r\nx",
    "\\\\example.com",
    "https:\\\\example.com",
    "",
]


@pytest.mark.parametrize("link", HOSTILE_LINKS)
def test_a_value_that_begins_a_link_has_an_allowed_scheme(load: Load, link: str) -> None:
    """Escaping does not help there; blanks, controls and letter case are no way around it."""
    catalog = load('<p>\n<a href="{{ shop.url }}">x</a>')

    with pytest.raises(TemplateError) as caught:
        html_of(catalog, url=link)

    assert caught.value.code == "render_failed"
    assert caught.value.detail.startswith("page/en/body.html:2: a link must begin with https:")


@pytest.mark.parametrize("attribute", ["src", "background", "action", "xlink:href", "poster"])
def test_every_attribute_that_holds_a_link_is_checked(load: Load, attribute: str) -> None:
    """Not only `href`."""
    catalog = load(f"<p {attribute} = ' {{{{ shop.url }}}}'>")

    with pytest.raises(TemplateError, match="a link must begin with"):
        html_of(catalog, url="javascript:x")


@pytest.mark.parametrize(
    "link",
    ["https://example.com/a?b=c&d=e#f", "HTTP://EXAMPLE.COM", "mailto:a@example.com", "tel:+49123"],
)
def test_links_that_are_allowed_arrive_escaped(load: Load, link: str) -> None:
    """https, http, mailto, tel and cid."""
    page = html_of(load('<a href="{{ shop.url }}">x</a>'), url=link)

    assert page == f'<a href="{link.replace("&", "&amp;")}">x</a>'


ALLOWED = {
    "a path in a link of the template": '<a href="https://example.com/{{ text }}">x</a>',
    "a query in a link of the template": '<a href="https://example.com/?q={{ text|urlencode }}">',
    "a part after a value": '<a href="{{ link }}#{{ text }}">x</a>',
    "an address": '<a href="mailto:{{ text }}">x</a>',
    "a title": "<a title='{{ text }}'>x</a>",
    "a class that is there only sometimes": '<p {% if text %}class="a"{% endif %}>x</p>',
    "one of two": '<a href="{% if text %}{{ link }}{% else %}{{ shop.url }}{% endif %}">x</a>',
    "a width": '<td style="width: {{ text|length }}px; color: {{ shop.colour }}">x</td>',
    "Outlook's conditions": '<!--[if mso]><v:rect href="{{ link }}"></v:rect><![endif]-->',
    "a comment": "<!-- {{ text }} -->",
    "less than": "1 < 2 {{ text }} a<b",
    "a macro": '{% macro b(u) %}<a href="{{ u }}">x</a>{% endmacro %}{{ b(link) }}',
    "a set": '{% set b %}<i>{{ text }}</i>{% endset %}<p title="{{ text }}">{{ b }}</p>',
    "a filter block": "{% filter upper %}<p>{{ text }}</p>{% endfilter %}",
}


@pytest.mark.parametrize("html", ALLOWED.values(), ids=ALLOWED.keys())
def test_a_value_may_stand_where_escaping_makes_it_safe(load: Load, html: str) -> None:
    """Text, quoted attributes, the rest of a link, sizes and colours."""
    page = html_of(load(html), text='"><script>')

    assert "<script" not in page.lower()


REFUSED = {
    "an element's name": (
        "<{{ text }}>",
        "a value cannot be the name of an element or an attribute",
    ),
    "an attribute": ("<p {{ text }}>", "a value cannot be the name of an element or an attribute"),
    "an attribute's name": (
        '<p data-{{ text }}="x">',
        "a value cannot be the name of an element or an attribute",
    ),
    "no quotes": ("<p title={{ text }}>", "an attribute's value needs quotes"),
    "half a value without quotes": ("<p title=a{{ text }}>", "an attribute's value needs quotes"),
    "an event": ('<p onclick="f({{ text }})">', "no value can stand in onclick="),
    "several links": ('<img srcset="{{ link }} 2x">', "no value can stand in srcset="),
    "a page in a page": ('<iframe srcdoc="{{ text }}">', "no value can stand in srcdoc="),
    "a script": ("<script>x = {{ text }}</script>", "no value can stand in a script or a style"),
    "a style sheet": (
        "<style>p { {{ text }} }</style>",
        "no value can stand in a script or a style",
    ),
    "half a scheme": ('<a href="java{{ text }}">', "a link's scheme stands all in the value or"),
    "a scheme of the template": ('<a href="javascript:x">', "a link cannot begin with javascript:"),
    "a scheme in disguise": ('<a href=" Java\tScript:x">', "a link cannot begin with javascript:"),
    "a data link": ('<img src="data:image/png;base64,x">', "a link cannot begin with data:"),
    "half a tag in a branch": (
        '<a {% if text %}href="{% endif %}{{ link }}">',
        "the else, or doing without it, ends elsewhere in the HTML",
    ),
    "half a link in a branch": (
        '<a href="{% if text %}https://a.example/{% endif %}{{ text }}">',
        "the else, or doing without it, ends elsewhere in the HTML",
    ),
    "a loop that leaves a tag open": (
        "{% for a in [1, 2] %}<p title='{% endfor %}",
        "the loop ends elsewhere in the HTML",
    ),
    "a set that leaves a tag open": (
        "{% set a %}<p title='{% endset %}",
        "this part ends elsewhere in the HTML",
    ),
    "a file inside a tag": (
        '<p {% include "page/en/body.txt" %}>',
        "this cannot stand inside a tag",
    ),
    "a link that is any text": ('<a href="{{ text }}">', "text starts a link, so its type must be"),
    "markup made by a filter": ("{{ text|safe }}", "No filter named 'safe'"),
    "JSON, whose quotes end an attribute": ("{{ shop|tojson }}", "No filter named 'tojson'"),
}


@pytest.mark.parametrize(("html", "reason"), REFUSED.values(), ids=REFUSED.keys())
def test_a_template_is_refused_where_no_escaping_helps(load: Load, html: str, reason: str) -> None:
    """At load, with file and line, whatever the values would be."""
    with pytest.raises(ConfigError) as caught:
        load(f"<p>ok</p>\n{html}")

    assert f"page/en/body.html:2: {reason}" in str(caught.value)


@pytest.mark.parametrize(
    "colour",
    ["red;background:url(https://evil.example)", "expression(alert(1))", "a:b", "\\65", "'"],
)
def test_a_value_in_a_style_is_a_word_or_a_size(load: Load, colour: str) -> None:
    """CSS can fetch, and in old clients run, what it is told."""
    catalog = load('<p style="color: {{ shop.colour }}">x</p>')

    with pytest.raises(TemplateError, match="a value in style= must be a number"):
        html_of(catalog, colour=colour)
