"""Pages written in MJML, made HTML once, when the catalog is loaded.

MJML's compiler knows nothing of Jinja. What Jinja reads is taken out, a comment or a word left in
its place, and put back into the HTML on the line where it stood, so that errors name the line of
the `.mjml` file.
"""

import re
from collections.abc import Iterator, MutableMapping

from mailworkers.adapters.template_files import Fault

NEEDED = "mailworkers[templates]"  # the extra that brings the compiler

_JINJA = re.compile(r"\{\{.*?\}\}|\{%.*?%\}|\{#.*?#\}", re.DOTALL)
_TAG = re.compile(r"<[A-Za-z/][^<>]*\Z")
_LINE_END = re.compile(r"\s*\n\s*")
_TOKEN = re.compile(r"<!--jinja:(\d+)-->|jinja(\d+)jinja")


def compile_mjml(name: str, sources: MutableMapping[str, str]) -> str:
    """Put the HTML of the MJML file *name* into *sources*; return its name there. Raises Fault."""
    try:
        from mjml import mjml2html
    except ImportError:
        raise Fault(name, 1, f"MJML needs a compiler: install {NEEDED}") from None
    source = sources[name]
    tokens = list(_JINJA.finditer(source))
    try:
        html = mjml2html("".join(_hidden(source, tokens)), disable_comments=False)
    except ValueError as error:
        raise Fault(name, 1, f"this is no MJML: {' '.join(str(error).split())}") from None
    if "<pre" not in html:
        html = _LINE_END.sub(" ", html)  # the compiler's own, which would shift the lines
    compiled = f"{name}#mjml"
    sources[compiled] = _restored(html, source, tokens)
    return compiled


def _hidden(source: str, tokens: list[re.Match[str]]) -> Iterator[str]:
    """Yield *source* with each of *tokens* hidden from the compiler."""
    position = 0
    for number, token in enumerate(tokens):
        yield source[position : token.start()]
        is_word = token[0].startswith("{{") or _TAG.search(source[: token.start()])
        yield f"jinja{number}jinja" if is_word else f"<!--jinja:{number}-->"
        position = token.end()
    yield source[position:]


def _restored(html: str, source: str, tokens: list[re.Match[str]]) -> str:
    """Return *html* with *tokens* in their places, each on its line of *source* where it can be."""
    written = 0  # line ends so far

    def restore(found: re.Match[str]) -> str:
        nonlocal written
        token = tokens[int(found[1] or found[2])]
        line = source.count("\n", 0, token.start()) - html.count("\n", 0, found.start())
        missing = max(0, line - written)
        written += missing + token[0].count("\n")
        return ("{#" + "\n" * missing + "#}" if missing else "") + token[0]

    return _TOKEN.sub(restore, html)
