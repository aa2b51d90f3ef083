"""Renderings that would take for ever, or all memory: each ends soon, and harms no other (M-16)."""

import json
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from mailworkers.adapters.catalog import Catalog
from mailworkers.core.commands import Command, decode_body
from mailworkers.core.deliveries import NewDelivery
from mailworkers.core.errors import ConfigError, TemplateError
from mailworkers.core.intake import Composer, Identity
from mailworkers.core.refusals import FailureCode, Refusal

CONTRACT = """\
description = "A bomb"
[variables.items]
type = "list"
description = "What the rendering may go through; nothing, with the samples"
default = []
[variables.text]
type = "string"
description = "Some text"
default = "x"
"""
DOUBLED = (
    "{% for i in range(90) %}{% set ns.a = [ns.a, ns.a] %}{% set ns.b = [ns.b, ns.b] %}{% endfor %}"
)
TWO_TREES = "{% set ns = namespace(a=['x'], b=['x']) %}" + DOUBLED
LONG = "{% set s = range(99999)|join('abcdefgh') %}"

BOMBS = {
    "a text repeated": "{{ 'a' * 900000000 }}",
    "a number times a text": "{{ 900000000 * 'a' }}",
    "a list repeated": "{{ items * 900000000 }}",
    "a power": "{{ 7 ** (7 ** 8) }}",
    "numbers that grow": "{{ 9223372036854775808 * 2 }}",
    "padding": "{{ 'x'.ljust(900000000) }}",
    "padding by a filter": "{{ 'x'.center(900000000) }}",
    "padding by %": "{{ '%900000000d' % 1 }}",
    "padding by format": "{{ '{:>900000000}'.format(1) }}",
    "padding of tabs": "{{ '\\t'.expandtabs(900000000) }}",
    "bytes of a number": "{{ (1).to_bytes(900000000, 'big') }}",
    "a range too long": "{% for a in range(900000000) %}{% endfor %}",
    "loops in loops": (
        "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
    ),
    "loops that find nothing": (
        "{% for a in range(99999) %}{% for b in range(99999) if b < 0 %}{% endfor %}{% endfor %}"
    ),
    "much to write": "{% for a in range(99999) %}{{ 'a line of some characters' }}{% endfor %}",
    "a huge join": LONG + "{{ range(99999)|join(s) }}",
    "a huge join by a method": LONG + "{{ s.join(range(99999)|map('string')|list) }}",
    "replacing": LONG + "{{ s|replace('a', s) }}",
    "replacing nothing": LONG + "{{ s|replace('', s) }}",
    "replacing by a method": LONG + "{{ s.replace('a', s) }}",
    "a text doubled by ~": (
        "{% set ns = namespace(s='abcd') %}"
        "{% for i in range(90) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}"
    ),
    "a text doubled by +": (
        "{% set ns = namespace(s='abcd') %}"
        "{% for i in range(90) %}{% set ns.s = ns.s + ns.s %}{% endfor %}"
    ),
    "a text doubled by a block": (
        "{% set ns = namespace(s='abcd') %}"
        "{% for i in range(90) %}{% set ns.s %}{{ ns.s }}{{ ns.s }}{% endset %}{% endfor %}"
    ),
    "a list doubled": (
        "{% set ns = namespace(s=[1]) %}"
        "{% for i in range(90) %}{% set ns.s = ns.s + ns.s %}{% endfor %}"
    ),
    "a tree written": TWO_TREES + "{{ ns.a }}",
    "a tree as text": TWO_TREES + "{{ ns.a|string }}",
    "a tree joined to a text": TWO_TREES + "{{ ns.a ~ 'x' }}",
    "a tree in upper case": TWO_TREES + "{{ ns.a is upper }}",
    "trees compared": TWO_TREES + "{{ ns.a == ns.b }}",
    "trees compared by a test": TWO_TREES + "{{ ns.a is eq ns.b }}",
    "a tree looked for": TWO_TREES + "{{ ns.a in [ns.b] }}",
    "trees sorted": TWO_TREES + "{{ [ns.a, ns.b]|sort|length }}",
    "trees compared by a loop": (
        TWO_TREES + "{% for a in [1, 2] %}{{ loop.changed(ns.a if a == 1 else ns.b) }}{% endfor %}"
    ),
    "macros that multiply": (
        "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(60) }}"
    ),
    "a macro without an end": "{% macro f(n) %}{{ f(n + 1) }}{% endmacro %}{{ f(0) }}",
    "a block in itself": "{% block a %}{{ self.a() }}{{ self.a() }}{% endblock %}",
    "a recursive loop": "{% for x in [1, 2] recursive %}{{ loop([1, 2]) }}{% endfor %}",
    "a recursive loop, bounded": (
        "{% for x in [1, 2, 3] recursive %}{{ loop([1, 2, 3]) if loop.depth < 90 }}{% endfor %}"
    ),
    "sorting again and again": (
        "{% for a in range(9999) %}{{ range(99999)|sort(reverse=true)|first }}{% endfor %}"
    ),
    "a list made unique again and again": (
        "{% for a in range(9999) %}{{ range(99999)|unique|list|length }}{% endfor %}"
    ),
    "columns": "{{ [1]|batch(900000000, 'x')|list|length }}",
    "slices": "{{ [1]|slice(900000000)|list|length }}",
    "copies": LONG + "{% for a in range(99999) %}{% set x = s[1:] %}{% endfor %}",
    "wrapping": LONG + "{{ s|wordwrap(1) }}",
    "wrapping with a long end": LONG + "{{ 'a b c'|wordwrap(1, wrapstring=s) }}",
    "indenting": "{{ 'a'|indent(900000000, true) }}",
    "rounding": "{{ 1.5|round(900000000, 'ceil') }}",
    "a sum of lists": "{{ [[1], [2]]|sum(start=[]) }}",
    "a cycler": (
        "{% set c = cycler(*range(99999)) %}{% for a in range(99999) %}"
        "{% for b in range(9999) %}{% set x = c.next() %}{% endfor %}{% endfor %}"
    ),
    "keys": "{% for a in range(99999) %}{% set x = dict.fromkeys(range(99999)) %}{% endfor %}",
    "a place in a range": "{% for a in range(99999) %}{{ range(99999).index('x') }}{% endfor %}",
    "a range searched": (
        "{% for a in range(99999) %}{% if 'x' in range(99999) %}{% endif %}{% endfor %}"
    ),
    "many arguments": (
        "{% for a in range(99999) %}{{ loop.cycle(*range(99999)) or '' }}{% endfor %}"
    ),
    "dictionaries": "{% for a in range(99999) %}{% set x = dict(a=range(9)|list) %}{% endfor %}",
    "filters one after the other": (
        LONG + "{% for a in range(9999) %}{% set x = s|title|urlencode|forceescape %}{% endfor %}"
    ),
}


def directory_of(tmp_path: Path, bodies: dict[str, str]) -> Path:
    """Return a catalog with a template of each of *bodies*."""
    for name, body in bodies.items():
        page = tmp_path / name / "en"
        page.mkdir(parents=True)
        (tmp_path / name / "contract.toml").write_text(CONTRACT)
        (page / "subject.txt").write_text("x{# {{ text }} #}")
        (page / "body.txt").write_text(body)
    return tmp_path


def guarded(body: str) -> str:
    """Return *body* so that samples do not reach it."""
    return f"{{% if items %}}\n{body}\n{{% endif %}}"


@pytest.mark.parametrize("bomb", BOMBS.values(), ids=BOMBS.keys())
def test_a_bomb_that_the_samples_reach_is_refused_at_load(tmp_path: Path, bomb: str) -> None:
    """The operator hears of it with file and line, before any message does."""
    with pytest.raises(ConfigError, match=r"bomb/en/body\.txt:1: .*\(with the samples\)"):
        Catalog.load(directory_of(tmp_path, {"bomb": bomb}))


IN_A_SMALL_PROCESS = """\
import json, resource, sys, time
from pathlib import Path
from mailworkers.adapters.catalog import Catalog
from mailworkers.core.errors import TemplateError

catalog = Catalog.load(Path(sys.argv[1]))
pages = int(Path("/proc/self/statm").read_text().split()[0])
limit = pages * resource.getpagesize() + 100 * 1024 * 1024
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
found = {}
for template_id in catalog.templates:
    begun = time.process_time()
    try:
        catalog.render(template_id, "en", {"items": [1]})
        said = "rendered"
    except TemplateError as error:
        said = f"{error.code}: {error.detail}"
    found[template_id] = [said, time.process_time() - begun]
print(json.dumps(found))
"""


def test_a_bomb_at_run_time_ends_soon_and_takes_little_memory(tmp_path: Path) -> None:
    """X-10: `render_failed` within 2 s of CPU, in a process that may grow by 100 MB and no more."""
    names = {f"bomb-{number}": name for number, name in enumerate(BOMBS)}
    bodies = {bomb: guarded(BOMBS[name]) for bomb, name in names.items()}
    directory = directory_of(tmp_path, bodies)

    done = subprocess.run(
        [sys.executable, "-c", IN_A_SMALL_PROCESS, directory],
        capture_output=True,
        check=True,
        timeout=110,
    )

    found = json.loads(done.stdout)
    assert found.keys() == names.keys()
    for bomb, (said, seconds) in found.items():
        assert said.startswith(f"render_failed: {bomb}/en/body.txt:"), (names[bomb], said)
        assert "MemoryError" not in said, names[bomb]
        assert seconds < 2, (names[bomb], seconds)


VALUES: dict[str, tuple[str, dict[str, Any]]] = {
    "a text longer than any mail": ("{{ text }}", {"text": "x" * 3_000_000}),
    "a list gone through for each item": (
        "{% for a in items %}{% for b in items %}{{ b }}{% endfor %}{% endfor %}",
        {"items": list(range(20_000))},
    ),
    "a list searched for each item": (
        "{% for a in items %}{% if a in items %}{% endif %}{% endfor %}",
        {"items": [f"number {n}" for n in range(20_000)]},
    ),
    "one long word to wrap": ("{{ text|wordwrap(72) }}", {"text": "x" * 2_000_000}),
    "comments to strip": ("{{ text|striptags }}", {"text": "<!---->" * 200_000}),
    "a link to find": ("{{ text|urlize }}", {"text": "http://a.example/" * 100_000}),
    "a number of many digits": ("{{ text|int }}", {"text": "9" * 1_000_000}),
    "a value that replaces": (
        "{{ text|replace('a', text) }}",
        {"text": "a" * 100_000},
    ),
    "a value that joins": ("{{ items|join(text) }}", {"text": "a" * 10_000, "items": [1] * 10_000}),
}


@pytest.mark.parametrize(("body", "values"), VALUES.values(), ids=VALUES.keys())
def test_a_strangers_value_makes_no_bomb_of_a_plain_template(
    tmp_path: Path, body: str, values: dict[str, Any]
) -> None:
    """The author of the template thought of ten items; a stranger sends a million."""
    catalog = Catalog.load(directory_of(tmp_path, {"plain": body}))

    begun = time.thread_time()
    with pytest.raises(TemplateError) as caught:
        catalog.render("plain", "en", values)

    assert caught.value.code == FailureCode.RENDER_FAILED
    assert time.thread_time() - begun < 2


def test_an_honest_rendering_is_far_from_the_bounds(tmp_path: Path) -> None:
    """A report of 3,000 rows, sorted, filtered and with totals, is still a mail."""
    body = (
        "{% for row in items|sort(attribute='amount') if row.amount > 0 %}"
        "{{ loop.index }}. {{ row.name|title|truncate(40) }}: {{ '' ~ row.amount|round(2) }} EUR\n"
        "{% endfor %}{{ items|sum(attribute='amount') }} in {{ items|length }}"
    )
    catalog = Catalog.load(directory_of(tmp_path, {"report": body}))
    rows = [{"name": f"an item of number {n}", "amount": n * 1.25} for n in range(3_000)]

    text = str(catalog.render("report", "en", {"items": rows}).text)

    assert text.startswith("1. An Item Of Number 1: 1.25 EUR\n")
    assert text.endswith("in 3000")


USED = {
    "{{ text|upper|replace('A', 'b')|trim|truncate(5) }}": "XbX",
    "{{ text.replace('a', 'b').upper() }} {{ ', '.join(items|map('string')) }}": "XBX 1, 2, 3",
    "{{ items|join(' + ') }} = {{ items|sum }}": "1 + 2 + 3 = 6",
    "{% for i in items %}{{ loop.index }}/{{ loop.length }}{{ ', ' if not loop.last else '' }}"
    "{% endfor %}": "1/3, 2/3, 3/3",
    "{% for i in items if i > 1 %}{{ i * 2 + 1 }}{% else %}none{% endfor %}": "57",
    "{% set ns = namespace(n=0) %}{% for i in items %}{% set ns.n = ns.n + i %}{% endfor %}"
    "{{ ns.n }}": "6",
    "{% for g in [{'k': 'a', 'v': 1}, {'k': 'a', 'v': 2}]|groupby('k') %}{{ g.grouper }}"
    "{{ g.list|map(attribute='v')|list|length }}{% endfor %}": "a2",
    "{% macro m(x) %}<{{ x }}>{% endmacro %}{{ m(1) }}{{ m(text) }}": "<1><xax>",
    "{% set c = cycler('a', 'b') %}{{ c.next() }}{{ c.next() }}{{ c.next() }}": "aba",
    "{{ items[1:]|first }} {{ items|last }} {{ items|max }} {{ 2 in items }}": "2 3 3 True",
    "{{ {'b': 1, 'a': 2}|dictsort|first|first }} {{ {'a': 5}.get('a') }}": "a 5",
    "{% for k, v in {'a': 1}.items() %}{{ k ~ v }}{% endfor %}{{ 1 if 1 <= 2 < 3 else 2 }}": "a11",
    "{% for row in items|batch(2, '-') %}{{ row|join }};{% endfor %}{{ 7 // 2 }}{{ 1.5|round }}": (
        "12;3-;32.0"
    ),
    "{% block b %}{{ text }}{% endblock %}{{ self.b() }}": "xaxxax",
    "{% for x in [{'n': 1, 'c': [{'n': 2, 'c': 0}]}] recursive %}"
    "{{ x.n }}{{ loop(x.c) if x.c else '' }}{% endfor %}": "12",
    "{% macro w() %}({{ caller() }}){% endmacro %}{% call w() %}in{% endcall %}": "(in)",
    "{% filter upper %}{{ text }}{% endfilter %}{% with a = 1 %}{{ a }}{% endwith %}": "XAX1",
    "{{ text|isolate }}{{ 7|isolate }}{{ none|isolate }}": "\u2068xax\u2069\u20687\u2069",
    "{{ text is eq 'xax' }} {{ items|select('odd')|list|length }} {{ none }}": "True 2 ",
}


@pytest.mark.parametrize(("body", "said"), USED.items())
def test_what_authors_use_works(tmp_path: Path, body: str, said: str) -> None:
    """The bounds leave the language as it is."""
    catalog = Catalog.load(directory_of(tmp_path, {"used": guarded(body)}))

    rendered = catalog.render("used", "en", {"items": [1, 2, 3], "text": "xax"})

    assert str(rendered.text).strip("\n") == said


def command(template_id: str) -> Command:
    """Return a command for a template, with a value that sets off bombs."""
    made = decode_body(
        json.dumps(
            {
                "payload_mode": "template",
                "idempotency_key": "k",
                "payload": {
                    "to": ["ada@example.com"],
                    "template_id": template_id,
                    "locale": "en",
                    "variables": {"items": [1]},
                },
            }
        ).encode()
    )
    assert isinstance(made, Command)
    return made


def test_neighbours_of_a_bomb_are_composed_also_in_other_threads(tmp_path: Path) -> None:
    """F-M06: the budget belongs to one rendering of one thread; a bomb is a refusal by itself."""
    bomb = guarded(BOMBS["macros that multiply"])
    catalog = Catalog.load(
        directory_of(tmp_path, {"bomb": bomb, "plain": "Hello {{ items|length }}"})
    )
    composer = Composer(identity=Identity("no-reply@example.com"), renderer=catalog)
    results: list[list[NewDelivery | Refusal]] = []

    def compose_batch() -> None:
        batch = [command("plain"), command("bomb"), command("plain")]
        results.append(
            [
                composer.compose(one, delivery_id=UUID(int=n), now=datetime.now(UTC))
                for n, one in enumerate(batch)
            ]
        )

    threads = [threading.Thread(target=compose_batch) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)

    assert len(results) == 3
    for first, second, third in results:
        assert isinstance(first, NewDelivery)
        assert isinstance(second, Refusal)
        assert second.code is FailureCode.RENDER_FAILED
        assert isinstance(third, NewDelivery)
