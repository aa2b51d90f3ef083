"""Styles on the elements, texts made of HTML, pages in MJML: what is done once, at load."""

import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest

from mailworkers.adapters.catalog import Catalog, examine, packaged_directory
from mailworkers.adapters.catalog_css import StyleInliner
from mailworkers.adapters.catalog_sandbox import Sandbox
from mailworkers.adapters.template_files import read_templates
from mailworkers.core.errors import ConfigError, TemplateError

CONTRACT = """\
description = "A page"
[variables.name]
type = "string"
description = "Whose"
sample = "Ada"
[variables.link]
type = "url"
description = "Where to"
default = "https://example.com/?a=1&b=2"
[variables.items]
type = "list"
description = "What"
default = ["a", "b"]
"""
BODY = "{{ name }} {{ link }} {{ items|join }}"
Load = Callable[[dict[str, str]], Catalog]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Return a function that loads a catalog of one page with these files."""

    def load_page(files: dict[str, str]) -> Catalog:
        files = {"page/contract.toml": CONTRACT, "page/en/subject.txt": "{{ name }}", **files}
        for name, text in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        return Catalog.load(tmp_path)

    return load_page


def html_of(catalog: Catalog, **variables: object) -> str:
    """Return the page."""
    return str(catalog.render("page", "en", {"name": "Bo", **variables}).html)


def test_rules_stand_on_the_elements_and_media_queries_in_the_sheet(load: Load) -> None:
    """Clients that drop <style> show the page; those that keep it have dark mode."""
    page = html_of(
        load(
            {
                "page/en/body.txt": BODY,
                "page/en/body.html": """\
<html><head><style>
/* a comment */
p { color: #111; margin: 0 }
.big, h1 { font-size: 20px }
.nobody { color: red }
a:hover { color: red }
@media (prefers-color-scheme: dark) {
  p { color: #eee !important }
}
</style></head><body>
<p class="big" style="margin: 1px">{{ name }}</p>
{% for item in items %}<p>{{ item }}</p>{% endfor %}
</body></html>""",
            }
        )
    )

    assert (
        '<p class="big" style="color: #111;margin: 0;font-size: 20px; margin: 1px">Bo</p>' in page
    )
    assert page.count('<p style="color: #111;margin: 0">') == 2
    sheet = page[page.index("<style>") : page.index("</style>")]
    assert "prefers-color-scheme" in sheet
    assert "a:hover" in sheet
    assert ".big" not in sheet
    assert "nobody" not in sheet
    assert "comment" not in sheet


def test_styles_of_a_layout_reach_blocks_partials_and_every_branch(load: Load) -> None:
    """A selector may begin in the layout and end in a partial."""
    page = html_of(
        load(
            {
                "_shared/layout.html": (
                    "<style>.frame .in b { color: red }</style>"
                    '<div class="frame">{% block main %}<p>nothing</p>{% endblock %}</div>'
                ),
                "_shared/part.html": "<b>{{ name }}</b>",
                "page/en/body.txt": BODY,
                "page/en/body.html": (
                    '{% extends "_shared/layout.html" %}{% block main %}{{ super() }}'
                    '<div class="in">{% if link %}{% include "_shared/part.html" %}{% else %}'
                    "<b>else</b>{% endif %}</div>{% endblock %}"
                ),
            }
        )
    )

    assert '<b style="color: red">Bo</b>' in page
    assert "<p>nothing</p>" in page
    assert "<style>" not in page


def test_a_layout_may_come_out_differently_for_two_pages(load: Load) -> None:
    """What a page adds to the styles changes its own layout only."""
    layout = "<style>p { color: red }</style>{% block more %}{% endblock %}<p>{{ name }}</p>"
    catalog = load(
        {
            "_shared/layout.html": layout,
            "page/en/body.txt": BODY,
            "page/en/body.html": '{% extends "_shared/layout.html" %}',
            "page/de/subject.txt": "{{ name }}",
            "page/de/body.txt": BODY,
            "page/de/body.html": (
                '{% extends "_shared/layout.html" %}'
                "{% block more %}<style>p { color: blue }</style>{% endblock %}"
            ),
        }
    )

    assert html_of(catalog) == '<p style="color: red">Bo</p>'
    german = catalog.render("page", "de", {"name": "Bo"}).html
    assert german == '<p style="color: blue">Bo</p>'


@pytest.mark.parametrize(
    "element",
    ['<p class="{{ name }}">x</p>', '<p {% if name %}class="red"{% endif %}>x</p>'],
    ids=["a class that is a value", "a class that is there sometimes"],
)
def test_where_classes_are_made_by_the_template_the_sheet_stays(load: Load, element: str) -> None:
    """The rule may be needed; it must not be lost."""
    sheet = "<style>.red { color: red }</style>"
    page = html_of(
        load(
            {
                "page/en/body.txt": BODY,
                "page/en/body.html": f"{sheet}{element}<p class='red'>",
            }
        )
    )

    assert sheet in page
    assert "<p style=\"color: red\" class='red'>" in page


def test_a_rule_about_siblings_stays_in_the_sheet(load: Load) -> None:
    """A loop is seen once when styles are inlined: every row would be the first."""
    page = html_of(
        load(
            {
                "page/en/body.txt": BODY,
                "page/en/body.html": (
                    "<style>td { color: red } tr:nth-child(even) td { color: blue }</style><table>"
                    "{% for item in items %}<tr><td>{{ item }}</td></tr>{% endfor %}</table>"
                ),
            }
        )
    )

    assert page.count('<td style="color: red">') == 2
    assert "tr:nth-child(even) td { color: blue }" in page


def test_a_sheet_for_a_medium_is_left_alone(load: Load) -> None:
    """`media=` says where it holds; on an element it would hold everywhere."""
    html = '<style media="print">p { color: red }</style><style>p { margin: 0 }</style><p>x</p>'
    page = html_of(load({"page/en/body.txt": BODY, "page/en/body.html": html}))

    assert page == '<style media="print">p { color: red }</style><p style="margin: 0">x</p>'


def test_errors_name_the_line_of_the_file_also_behind_a_style_sheet(load: Load) -> None:
    """Inlining adds no line and takes none away."""
    html = "<style>\np { margin: 0 }\n\n</style>\n<p>{{ name }}</p>\n{{ items[0].price }}\n"

    with pytest.raises(ConfigError, match=r"page/en/body\.html:6: 'str object' has no attribute"):
        load({"page/en/body.txt": BODY, "page/en/body.html": html})


def test_whatever_jinja_reads_stays_as_it_is(load: Load) -> None:
    """Quotes, angle brackets and braces within expressions are none of the HTML's."""
    html = (
        "<style>p { margin: 0 } b { color: red }</style>"
        "<p title=\"{{ name|replace('>', \"<p>\") }}\">{{ '<b>' if items|length > 1 else '}' }}</p>"
        "{% raw %}<b>{{ raw }}</b>{% endraw %}{# <b> #}<b>{{ name }}</b>"
    )
    page = html_of(load({"page/en/body.txt": BODY, "page/en/body.html": html}), name=">")

    assert page == (
        '<p style="margin: 0" title="&lt;p&gt;">&lt;b&gt;</p>'
        '<b>{{ raw }}</b><b style="color: red">&gt;</b>'
    )


class Skeleton(HTMLParser):
    """A page without its styles."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[object] = []
        self._in_sheet = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep a tag with its other attributes."""
        self._in_sheet = tag == "style"
        if not self._in_sheet:
            self.found.append((tag, [(n, v) for n, v in attrs if n != "style"]))

    def handle_endtag(self, tag: str) -> None:
        """Keep where an element ends."""
        self._in_sheet = False
        if tag != "style":
            self.found.append(tag)

    def handle_data(self, data: str) -> None:
        """Keep text."""
        if not self._in_sheet:
            self.found.extend(data.split())


def test_inlining_changes_nothing_but_styles() -> None:
    """Every page we ship, with its samples: the same elements, attributes and text as without."""
    files = read_templates(packaged_directory())
    with_styles = Catalog.load(packaged_directory())
    plain = Sandbox(dict(files.sources))
    inliner = StyleInliner(plain.sources, plain.parse_plainly)
    for template in with_styles.templates.values():
        for locale in template.pages:
            name = f"{template.template_id}/{locale}/body.html"
            samples = template.contract.examples()
            inlined = str(with_styles.render(template.template_id, locale, samples).html)
            plain.budget.refill()
            known = {"locale": locale, "direction": "rtl" if locale == "ar" else "ltr"}
            written = plain.get_template(name).render(**samples, **known)

            assert inliner.inline(name), name
            assert Skeleton(inlined).found == Skeleton(written).found
            assert inlined.count("style=") > 5


def test_the_text_is_made_of_the_html_where_nobody_wrote_one(load: Load) -> None:
    """Values are what they are, no markup is left, links keep their addresses."""
    catalog = load(
        {
            "page/en/body.html": """\
<html><head><title>Not this</title><style>p { margin: 0 }</style></head><body>
<div style="display: none">Not this either</div>
<h1>Hello {{ name }}</h1>
<p>Please <a href="{{ link }}">confirm</a>.</p>
<ul>{% for item in items %}<li>{{ item }}</li>{% endfor %}</ul>
</body></html>"""
        }
    )
    text = catalog.render("page", "en", {"name": "<b> & {{ 7 * 7 }}", "items": ["x", "<y>"]}).text

    assert text == (
        "Hello <b> & {{ 7 * 7 }}\n\n"
        "Please confirm <https://example.com/?a=1&b=2>.\n\n"
        "  * x\n  * <y>\n"
    )


def test_a_text_that_somebody_wrote_is_used(load: Load) -> None:
    """Nothing is made of the HTML then."""
    catalog = load({"page/en/body.txt": BODY, "page/en/body.html": "<p>{{ name }}</p>"})

    assert str(catalog.render("page", "en", {"name": "Bo"}).text).startswith("Bo https://")


MJML = """\
<mjml>
  <mj-head><mj-title>{{ name }}</mj-title></mj-head>
  <mj-body>
    <mj-section>
      <mj-column>
        <mj-text>Hello {{ name }}</mj-text>
        {% for item in items %}
        <mj-text>{{ item }}{% if loop.last %}!{% endif %}</mj-text>
        {% endfor %}
        <mj-button href="{{ link }}">Go</mj-button>
      </mj-column>
    </mj-section>
  </mj-body>
</mjml>
"""


def test_a_page_may_be_written_in_mjml(load: Load) -> None:
    """Compiled at load; loops, branches and values work, values are escaped."""
    catalog = load({"page/en/body.txt": BODY, "page/en/body.mjml": MJML})
    page = html_of(catalog, name="<Bo>", items=["one", "two"])

    assert "Hello &lt;Bo&gt;" in page
    assert re.findall(r">(one|two!?)<", page) == ["one", "two!"]
    assert 'href="https://example.com/?a=1&amp;b=2"' in page
    assert "mj-" not in re.sub(r'class="[^"]*"|\.mj-[\w-]+', "", page)
    assert "jinja" not in page


def test_errors_in_mjml_name_its_lines(load: Load) -> None:
    """The HTML that is made of it has others."""
    with pytest.raises(ConfigError, match=r"page/en/body\.mjml:8: 'str object' has no attribute"):
        load({"page/en/body.txt": BODY, "page/en/body.mjml": MJML.replace("item }", "item.x }")})
    with pytest.raises(ConfigError, match=r"body\.mjml:6: the contract declares no variable nmae"):
        load({"page/en/body.mjml": MJML.replace("Hello {{ name", "Hello {{ nmae")})
    with pytest.raises(ConfigError, match=r"page/en/body\.mjml:1: this is no MJML: "):
        load({"page/en/body.mjml": MJML.replace("</mj-column>", "")})


def test_links_in_mjml_are_checked(load: Load) -> None:
    """As in HTML: by the HTML that is made of it."""
    source = MJML.replace("{{ link }}", "{{ items[0] }}")
    catalog = load(
        {
            "page/en/body.mjml": source,
            "page/contract.toml": CONTRACT.replace('["a", "b"]', '["https://example.com/"]'),
        }
    )

    with pytest.raises(TemplateError, match=r"body\.mjml:10: a link must begin with https:"):
        html_of(catalog, items=["javascript:x"])


def test_mjml_and_html_together_are_refused(load: Load, tmp_path: Path) -> None:
    """One of them would never be sent."""
    load({"page/en/body.mjml": MJML})
    (tmp_path / "page/en/body.html").write_text("<p>{{ name }}</p>")

    _, problems = examine(tmp_path)
    assert [str(problem) for problem in problems] == [
        "page/en/body.mjml:1: there is a body.html already"
    ]
