"""The template catalog: checked to the file and line at load, strict and bounded at render."""

import shutil
from collections.abc import Callable
from configparser import ConfigParser
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from mailworkers.adapters.catalog import Catalog, examine
from mailworkers.core.errors import ConfigError, TemplateError

CONTRACT = """\
description = "A note"

[variables.name]
type = "string"
description = "Whose"
sample = "Ada"

[variables.link]
type = "url"
description = "Where to"
default = "https://example.com/"

[variables.items]
type = "list"
description = "What"
default = []
"""
FILES = {
    "_shared/layout.html": '<html lang="{{ locale }}">{% block main %}{% endblock %}</html>\n',
    "note/contract.toml": CONTRACT,
    "note/en/subject.txt": "Hello {{ name }}\n",
    "note/en/body.txt": (
        "Dear {{ name }},\n{% for i in items %}\n- {{ i }}\n{% endfor %}\nsee {{ link }}\n"
    ),
    "note/en/body.html": (
        '{% extends "_shared/layout.html" %}\n{% block main %}\n'
        '<p><a href="{{ link }}">{{ name }}</a></p>\n{% endblock %}\n'
    ),
    "note/pt/subject.txt": "Olá {{ name }}\n",
    "note/pt/body.txt": "Caro {{ name }}\n",
    "note/pt/body.html": "<p>Caro {{ name }}</p>\n",
}
Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Return a function that writes the catalog with files changed, None taking one away."""

    def write_catalog(changes: dict[str, str | None] | None = None) -> Path:
        for name, text in (FILES | (changes or {})).items():
            if text is not None:
                path = tmp_path / "catalog" / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text, encoding="utf-8")
        return tmp_path / "catalog"

    return write_catalog


def failure(
    catalog: Catalog, variables: dict[str, Any], template_id: str = "note"
) -> TemplateError:
    """Return how rendering fails."""
    with pytest.raises(TemplateError) as caught:
        catalog.render(template_id, "en", variables)
    return caught.value


def test_a_template_is_rendered_in_its_parts(write: Write) -> None:
    """Subject, text and HTML, and which template, version and locale they came from."""
    rendered = Catalog.load(write()).render("note", "en", {"name": "Bo", "items": ["a", 1]})

    assert rendered.subject == "Hello Bo"
    assert rendered.text == "Dear Bo,\n- a\n- 1\nsee https://example.com/"
    assert rendered.html is not None
    assert '<html lang="en"><p><a href="https://example.com/">Bo</a></p>' in rendered.html
    assert (rendered.template_id, rendered.locale) == ("note", "en")


@pytest.mark.parametrize(
    ("locale", "used"),
    [("pt", "pt"), ("pt-BR", "pt"), ("pt-Latn-BR", "pt"), ("en-GB", "en"), ("ja", "en")],
)
def test_a_missing_locale_falls_back_to_the_nearest(write: Write, locale: str, used: str) -> None:
    """pt-BR -> pt -> the catalog's default."""
    assert Catalog.load(write()).render("note", locale, {"name": "Bo"}).locale == used


def test_the_default_locale_is_the_catalogs_choice(write: Write) -> None:
    """`catalog.toml` names it."""
    catalog = Catalog.load(write({"catalog.toml": 'default_locale = "pt"'}))

    assert catalog.render("note", "ja", {"name": "Bo"}).locale == "pt"


def test_values_are_escaped_in_html_and_only_there(write: Write) -> None:
    """X-11: by the part's type; X-12: a value is never rendered again."""
    hostile = '<b onclick="x">\'&{{ 7 * 7 }}{% raw %}'
    rendered = Catalog.load(write()).render("note", "en", {"name": hostile})

    assert rendered.subject == f"Hello {hostile}"
    assert hostile in str(rendered.text)
    assert "&lt;b onclick=&#34;x&#34;&gt;&#39;&amp;{{ 7 * 7 }}{% raw %}" in str(rendered.html)


@pytest.mark.parametrize(
    ("variables", "detail"),
    [
        ({}, "name is missing"),
        ({"name": "Bo", "colour": "red"}, "colour is unknown"),
        ({"name": ["Bo"]}, "name is not of type string"),
        ({"name": "Bo", "link": "javascript:alert(1)"}, "link is not of type url"),
    ],
)
def test_variables_must_be_those_of_the_contract(
    write: Write, variables: dict[str, Any], detail: str
) -> None:
    """Unknown, missing or mistyped is a refusal at intake."""
    error = failure(Catalog.load(write()), variables)

    assert (error.code, error.detail) == ("template_variables", detail)


def test_an_unknown_template_is_a_refusal(write: Write) -> None:
    """Ids are keys, never paths."""
    catalog = Catalog.load(write())

    for template_id in ("nope", "../note", "_shared", "note/en", ""):
        assert failure(catalog, {}, template_id).code == "unknown_template"


def test_a_rendering_that_fails_names_the_place_and_no_value(write: Write) -> None:
    """render_failed, with the file and the line; what the value was stays private."""
    line = "{{ items[0].price }} {{ name|int // items|length }}"
    catalog = Catalog.load(
        write({"note/en/body.txt": f"Dear {{{{ name }}}}\n{{% if items %}}\n{line}\n{{% endif %}}"})
    )
    error = failure(catalog, {"name": "secret", "items": [{"prize": "secret"}]})

    assert error.code == "render_failed"
    assert error.detail == "note/en/body.txt:3: 'dict object' has no attribute 'price'"


@pytest.mark.parametrize(
    "escape",
    [
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ name.__init__.__globals__ }}",
        "{{ items.append(1) }}",
        "{{ self.__init__.__globals__ }}",
        "{{ (name|attr('format'))('x') }}",
        "{{ cycler.__init__.__globals__.os }}",
        "{{ ''['__class__'] }}",
        "{{ name|attr('__class__') }}",
        "{{ [name]|map(attribute='__class__')|list }}",
        "{{ (items|map('upper')).gi_frame }}",
        "{{ dict.mro() }}",
        "{{ range.__doc__ }}",
        "{{ joiner.__init__ }}",
        "{{ name.encode('idna') }}",
        "{{ namespace(a=1).__class__ }}",
        "{% macro m() %}{% endmacro %}{{ m._func }}",
        "{% for i in items %}{{ loop._recurse }}{% endfor %}",
        "{{ self._TemplateReference__context }}",
    ],
)
def test_the_sandbox_holds(write: Write, escape: str) -> None:
    """X-09: known ways out end in a refusal."""
    guarded = f"{{% if items %}}{escape}{{% endif %}}"
    catalog = Catalog.load(write({"note/en/body.txt": guarded}))

    assert failure(catalog, {"name": "Bo", "items": [1]}).code == "render_failed"


@pytest.mark.parametrize(
    "value", ["{{7*7}}", "{% for i in items %}x{% endfor %}", "{# x", "${7*7}"]
)
def test_a_value_is_never_rendered_again(write: Write, value: str) -> None:
    """X-12: whatever it looks like, and however deep it stands."""
    rendered = Catalog.load(write()).render("note", "en", {"name": value, "items": [value]})

    assert rendered.subject == f"Hello {value}"
    assert rendered.text is not None
    assert rendered.html is not None
    assert rendered.text.startswith(f"Dear {value},\n- {value}\n")
    assert f">{value}</a>" in rendered.html


def test_jinja_is_one_without_a_known_way_out() -> None:
    """X-09: before 3.1.6 `attr` gave format methods away (CVE-2025-27516)."""
    installed = tuple(map(int, version("jinja2").split(".")[:3]))
    config = ConfigParser()
    config.read(Path(__file__).parents[2] / "setup.cfg", encoding="utf-8")

    assert installed >= (3, 1, 6)
    assert "jinja2>=3.1.6," in config["options"]["install_requires"]


BROKEN: dict[str, tuple[dict[str, str | None], str]] = {
    "a syntax error": (
        {"note/en/body.txt": "Dear\n{{ name }\n"},
        "note/en/body.txt:2: ",
    ),
    "an unknown filter": (
        {"note/pt/body.txt": "\n\n{{ name|shout }}"},
        "note/pt/body.txt:3: No filter named 'shout'",
    ),
    "the filter safe": (
        {"note/en/body.html": "{{ name|safe }}"},
        "note/en/body.html:1: No filter named 'safe'",
    ),
    "a variable not declared": (
        {"note/en/body.txt": "{{ name }}\n{{ surname }}"},
        "note/en/body.txt:2: the contract declares no variable surname",
    ),
    "a variable not declared, in a branch": (
        {"note/pt/subject.txt": "{% if name %}x{% else %}{{ nmae }}{% endif %}"},
        "note/pt/subject.txt:1: the contract declares no variable nmae",
    ),
    "a variable not declared, in the layout": (
        {"_shared/layout.html": "\n{{ title }}{% block main %}{% endblock %}"},
        "_shared/layout.html:2: the contract declares no variable title",
    ),
    "a subject of two lines": (
        {"note/en/subject.txt": "Hello\n{{ name }}\n"},
        "note/en/subject.txt:1: the subject is not one line",
    ),
    "an empty subject": (
        {"note/pt/subject.txt": "{# nothing #}"},
        "note/pt/subject.txt:1: the subject is not one line",
    ),
    "a sample that cannot be rendered": (
        {"note/en/body.txt": "\n{{ name.first }}"},
        "note/en/body.txt:2: 'str object' has no attribute 'first' (with the samples)",
    ),
    "no subject": ({"note/pt/subject.txt": None}, "note/pt/subject.txt:1: is missing"),
    "no text where the others have one": (
        {"note/pt/body.txt": None},
        "note/pt/body.txt:1: is missing, but there is one in en",
    ),
    "neither text nor HTML": (
        dict.fromkeys(("note/en/body.txt", "note/en/body.html")),
        "note/en/body.txt:1: is missing, and there is no body.html to make it of",
    ),
    "HTML in one locale only": (
        {"note/pt/body.html": None},
        "note/pt/body.html:1: is missing, but there is one in en",
    ),
    "no contract": ({"note/contract.toml": None}, "note/contract.toml:1: is missing"),
    "a contract with a wrong line": (
        {"note/contract.toml": CONTRACT.replace('"url"', '"link"')},
        "note/contract.toml:8: variable link: type 'link' is not one of",
    ),
    "no default locale": (
        {name: None for name in FILES if name.startswith("note/en")},
        "note:1: the default locale en is missing",
    ),
    "a locale that is none": (
        {"note/deutsch_at/body.txt": "x"},
        "note/deutsch_at:1: is not a language tag",
    ),
    "a locale not canonical": ({"note/pt-br/body.txt": "x"}, "note/pt-br:1: is written pt-BR"),
    "a misspelt file": (
        {"note/en/body.htm": "x"},
        "note/en/body.htm:1: only subject.txt, body.txt and body.html or body.mjml can be here",
    ),
    "a folder that is no id": ({"My Note/contract.toml": "x"}, "My Note:1: a template's folder"),
    "a layout that is not there": (
        {"note/en/body.html": '\n{% extends "layout.html" %}'},
        "note/en/body.html:2: this must be the name of a file, in quotes",
    ),
    "a layout named by a value": (
        {"note/en/body.html": "{% include name %}"},
        "note/en/body.html:1: this must be the name of a file, in quotes",
    ),
    "text in HTML": (
        {"note/en/body.html": '{% include "note/en/body.txt" %}'},
        "note/en/body.html:1: HTML and text cannot be put into each other",
    ),
    "a circle": (
        {"_shared/layout.html": '{% include "note/en/body.html" %}'},
        "_shared/layout.html:1: note/en/body.html would contain itself",
    ),
    "an import": (
        {"note/en/body.html": '{% import "_shared/layout.html" as l %}'},
        "note/en/body.html:1: import and autoescape cannot be used here",
    ),
    "escaping switched off": (
        {"note/en/body.html": "<p>\n{% autoescape false %}{{ name }}{% endautoescape %}"},
        "note/en/body.html:2: import and autoescape cannot be used here",
    ),
    "a link that is any text": (
        {"note/en/body.html": '<p>\n<a href="{{ name }}">x</a>'},
        "note/en/body.html:2: name starts a link, so its type must be url",
    ),
    "an attribute without quotes": (
        {"note/en/body.html": "<p>\n<i title={{ name }}>x</i>"},
        "note/en/body.html:2: an attribute's value needs quotes",
    ),
    "a layout inside a tag": (
        {"_shared/layout.html": "<p>\n<a {% block main %}{% endblock %}>"},
        "_shared/layout.html:2: this cannot stand inside a tag",
    ),
    "a sender that is no mailbox": (
        {"note/contract.toml": 'from = "Shop"\n' + CONTRACT},
        "note/contract.toml:1: from: there is no @ in it",
    ),
    "a page that never ends": (
        {
            "note/en/body.txt": "\n{% for a in range(99999) %}\n{% for b in range(99999) %}x"
            "{% endfor %}{% endfor %}{{ name }}"
        },
        "note/en/body.txt:2: more than 1000000 steps (with the samples)",
    ),
    "a style sheet with a value": (
        {"note/en/body.html": "<style>\np { color: {{ name }} }</style>"},
        "note/en/body.html:2: no value can stand in a script or a style sheet",
    ),
    "a default locale that is none": (
        {"catalog.toml": 'default_locale = "english!"'},
        "catalog.toml:1: default_locale is not a language tag of BCP 47",
    ),
    "a setting that is none": (
        {"catalog.toml": 'locale = "en"'},
        "catalog.toml:1: only default_locale can stand here, not locale",
    ),
}


@pytest.mark.parametrize(("changes", "message"), BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_catalog_is_refused_with_the_file_and_the_line(
    write: Write, changes: dict[str, str | None], message: str
) -> None:
    """MS-04: one bad template, in whatever locale, ends the start with one line that names it."""
    directory = write(changes)
    with pytest.raises(ConfigError) as caught:
        Catalog.load(directory)

    assert str(caught.value).startswith(f"{directory}/{message}")
    assert len(str(caught.value).splitlines()) == 1


def test_all_that_is_wrong_is_told_at_once(write: Write) -> None:
    """Who repairs a catalog wants the whole list; a role's start names the first and the number."""
    directory = write(
        {
            "note/en/subject.txt": "{{ nmae }} {{ surname }}",
            "note/pt/body.txt": "{{ name|shout }}",
            "other/contract.toml": "",
            "other/en/subject.txt": "x",
            "other/en/body.txt": "x",
        }
    )
    catalog, problems = examine(directory)

    assert catalog is None
    assert sorted(map(str, problems)) == [
        "note/en/subject.txt:1: the contract declares no variable nmae",
        "note/en/subject.txt:1: the contract declares no variable surname",
        "note/pt/body.txt:1: No filter named 'shout'.",
        "other/contract.toml:1: Object missing required field `description`",
    ]
    with pytest.raises(ConfigError, match=r"\(3 more: `mailworkers templates check`\)$"):
        Catalog.load(directory)


def test_what_is_probably_not_meant_is_a_warning(write: Write) -> None:
    """A variable that nobody shows, bulk mail that nobody can end: allowed, and told."""
    changes: dict[str, str | None] = {
        "note/contract.toml": 'lane = "bulk"\n' + CONTRACT,
        "note/en/body.txt": "Dear {{ name }}, see {{ link }}",
    }
    catalog, problems = examine(write(changes))

    assert catalog is not None
    assert [str(problem) for problem in problems if problem.is_warning] == [
        "note/contract.toml:14: no file uses the variable items",
        "note/contract.toml:1: bulk mail without unsubscribe: large mailboxes refuse it",
    ]
    assert catalog.warnings == tuple(problems)


def test_a_page_that_large_mailboxes_would_cut_is_a_warning(write: Write) -> None:
    """They hide what comes after 102 kB, and the link to unsubscribe with it."""
    _, problems = examine(write({"note/en/body.html": f"<p>{{{{ name }}}}{'x' * 100_000}"}))

    assert [(p.file, p.is_warning) for p in problems] == [("note/en/body.html", True)]


def test_null_writes_nothing_and_a_list_is_never_written(write: Write) -> None:
    """`None` and `['a']` are Python's, not the reader's language."""
    changes: dict[str, str | None] = {
        "note/en/body.txt": "{% for i in items %}<{{ i.a }}>{% endfor %}{{ name }}{{ link }}"
    }
    catalog = Catalog.load(write(changes))

    assert "<><x>" in str(
        catalog.render("note", "en", {"name": "Bo", "items": [{"a": None}, {"a": "x"}]}).text
    )
    error = failure(catalog, {"name": "Bo", "items": [{"a": ["secret"]}]})
    assert error.detail == "note/en/body.txt:1: a list or an object cannot be written as text"


def test_a_key_is_found_before_a_method_of_its_name(write: Write) -> None:
    """`order.items` is what the command said, not Python's `dict.items`."""
    changes: dict[str, str | None] = {
        "note/en/body.txt": "{% for i in items %}{{ i.items }}{% endfor %}{{ name }}{{ link }}"
    }
    catalog = Catalog.load(write(changes))

    rendered = catalog.render("note", "en", {"name": "Bo", "items": [{"items": "seven"}]})

    assert str(rendered.text).startswith("seven")


def test_a_file_that_is_not_utf8_is_refused(write: Write) -> None:
    """Guessing an encoding would put wrong letters into mail."""
    directory = write()
    (directory / "note/en/body.txt").write_bytes(b"Gr\xfc\xdfe")

    with pytest.raises(ConfigError, match=r"note/en/body\.txt:1: cannot be read"):
        Catalog.load(directory)


def test_a_catalog_that_is_not_there_or_empty_is_refused(tmp_path: Path) -> None:
    """The message names the setting."""
    with pytest.raises(ConfigError, match="MAIL_TEMPLATE_DIR"):
        Catalog.load(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match="there is no template in it"):
        Catalog.load(tmp_path)


def test_hidden_files_and_backups_are_left_alone(write: Write) -> None:
    """Editors, file managers and Python leave them about."""
    spare: dict[str, str | None] = {
        "note/en/body.txt~": "x",
        "note/en/.body.txt.swp": "x",
        ".git/config": "x",
        "__init__.py": "",
        "README.md": "How to add a template",
    }

    assert list(Catalog.load(write(spare)).templates) == ["note"]


def test_a_change_on_disk_shows_only_after_a_new_load(write: Write) -> None:
    """MS-05, MS-71: immutable for the life of a process, even when the folder is gone."""
    directory = write()
    catalog = Catalog.load(directory)
    write({"note/en/subject.txt": "Changed", "_shared/layout.html": "Changed"})
    reloaded = Catalog.load(directory)
    shutil.rmtree(directory)

    assert catalog.render("note", "en", {"name": "Bo"}).subject == "Hello Bo"
    assert "Changed" not in str(catalog.render("note", "en", {"name": "Bo"}).html)
    assert reloaded.render("note", "en", {"name": "Bo"}).subject == "Changed"


def test_the_version_changes_with_the_sources_and_with_nothing_else(write: Write) -> None:
    """Stored on each delivery, it says what was sent; the layout counts, other templates do not."""

    def version(changes: dict[str, str | None] | None = None) -> str:
        return Catalog.load(write(changes)).templates["note"].version

    first = version()
    assert len(first) == 12
    assert version({"other/contract.toml": None}) == first
    other = {name.replace("note", "other"): text for name, text in FILES.items()}
    assert version(dict(other)) == first
    assert version({"_shared/layout.html": "<main>{% block main %}{% endblock %}"}) != first
    assert version() == first
    assert version({"note/contract.toml": CONTRACT.replace("A note", "The note")}) != first
    assert version() == first
    assert version({"note/pt/body.txt": "{{ name }}!"}) != first


def test_a_variable_set_in_a_template_is_known_in_its_layout(write: Write) -> None:
    """A page may tell its layout something the contract knows nothing of."""
    changes: dict[str, str | None] = {
        "_shared/layout.html": "<title>{{ title }}</title>{% block main %}{% endblock %}",
        "note/en/body.html": (
            '{% extends "_shared/layout.html" %}{% set title = "T" %}'
            "{% block main %}{{ name }}{% endblock %}"
        ),
    }
    rendered = Catalog.load(write(changes)).render("note", "en", {"name": "Bo"})

    assert rendered.html == "<title>T</title>Bo"
