"""The start tags and style sheets of a template's source, numbered, and given other styles.

A template is no HTML until it is rendered, so nothing is parsed and written again: the source is
edited where a tag's name ends or its `style=` begins. No line is added or taken away, and whatever
Jinja reads stays as it is.
"""

import re
from collections.abc import Iterator, Mapping
from html import escape

import msgspec

NUMBER = "data-mailworkers"  # the attribute that numbers a tag
_JINJA = re.compile(
    r"\{%-?\s*raw\b.*?\{%-?\s*endraw\b.*?%\}|\{\{.*?\}\}|\{%.*?%\}|\{#.*?#\}", re.DOTALL
)
_VALUE, _STATEMENT = "\ue000", "\ue001"
_MARKUP = re.compile(
    r"<!--.*?-->|<script\b.*?</script|(?P<sheet><style\b(?P<about>[^>]*)>)(?P<css>.*?)</style\s*>"
    r"""|<(?P<name>[a-z][\w:-]*)(?P<attributes>(?:"[^"]*"|'[^']*'|[^>"'])*?)/?>""",
    re.DOTALL | re.IGNORECASE,
)
_STYLE = re.compile(r"""\sstyle\s*=\s*(["'])(.*?)\1""", re.DOTALL | re.IGNORECASE)
_CLASS = re.compile(r"""\sclass\s*=\s*(["'])(.*?)\1""", re.DOTALL | re.IGNORECASE)
_COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)
_SIBLINGS = re.compile(r":(?:nth-|first-|last-|only-|empty)|[+~]")
_BRACES = re.compile(r"[{};]")
_DOUBLE = '"'


class _Tag(msgspec.Struct, frozen=True):
    """A start tag in a file: where its name ends, and where its `style=` stands if it has one."""

    number: str
    after_name: int
    style: tuple[int, int, str] | None = None  # begin, end, quote


class _Sheet(msgspec.Struct, frozen=True):
    """A `<style>` in a file, and where it and its content begin and end."""

    number: str
    span: tuple[int, int]
    content: tuple[int, int]


class File(msgspec.Struct):
    """A file taken apart; `is_certain` where no class is made by the template."""

    source: str
    tags: list[_Tag]
    sheets: list[_Sheet]
    is_certain: bool = True


def take_apart(name: str, source: str) -> tuple[File, str]:
    """Return the tags and style sheets of *source*, and *source* with each of them numbered."""
    hidden = _JINJA.sub(_hide, source)
    file = File(source, [], [])
    pieces, position = [], 0
    for number, found in enumerate(_MARKUP.finditer(hidden)):
        mark = f' {NUMBER}="{name}:{number}"'
        if found["sheet"]:
            has_values = _VALUE in found["css"] or _STATEMENT in found["css"]
            if found["about"].strip() or has_values:
                mark = ' data-css-inline="ignore"'
            else:
                file.sheets.append(_Sheet(f"{name}:{number}", found.span(), found.span("css")))
            end = found.start() + len("<style")
            rules = map(_shielded, _rules(_COMMENT.sub("", found["css"])))
            pieces += [source[position:end], mark, source[end : found.start("css")], *rules]
            position = found.end("css")
        elif found["name"]:
            tag = _tag(file, found, f"{name}:{number}")
            cut = tag.style[:2] if tag.style else (tag.after_name, tag.after_name)
            pieces += [source[position : tag.after_name], mark, source[tag.after_name : cut[0]]]
            position = cut[1]
    return file, "".join([*pieces, source[position:]])


def _rules(css: str) -> Iterator[str]:
    """Yield the rules of a style sheet without comments, those within an @-rule as part of it."""
    depth = start = 0
    for found in _BRACES.finditer(css):
        depth += {"{": 1, "}": -1, ";": 0}[found[0]]
        if depth == 0:
            yield css[start : found.end()]
            start = found.end()


def _shielded(rule: str) -> str:
    """Return *rule* so that it is inlined only where that means the same."""
    selector = rule.partition("{")[0]
    is_plain = "@" in selector or not _SIBLINGS.search(selector)
    return rule if is_plain else f"@media all{{{rule.strip()}}}"


def _may_match(rule: str) -> bool:
    """Return whether *rule*, which matched nothing, could match what is not there yet.

    All elements and classes are known, but for the links that the filter `urlize` makes.
    """
    selector = rule.partition("{")[0].strip()
    return ":" in selector or selector.startswith("@") or selector.split(",")[-1].strip() == "a"


def _hide(found: re.Match[str]) -> str:
    """Return a dummy of the same length, with the same line ends, for something of Jinja's."""
    mark = _VALUE if found[0].startswith("{{") else _STATEMENT
    return re.sub(r"[^\n]", mark, found[0])


def _tag(file: File, found: re.Match[str], number: str) -> _Tag:
    """Put the start tag *found* into *file*, unless parts of it are there only sometimes."""
    attributes, start = found["attributes"], found.start("attributes")
    style, classes = _STYLE.search(attributes), _CLASS.search(attributes)
    span = (start + style.start(2), start + style.end(2), style[1]) if style else None
    tag = _Tag(number, start, span)
    if _STATEMENT in attributes:
        file.is_certain = False
        return _Tag(number, start)
    if classes and _VALUE in classes[2]:
        file.is_certain = False
    file.tags.append(tag)
    return tag


def restyle(
    file: File, styles: Mapping[str, str], rules: Mapping[str, str], *, keep_rules: bool
) -> str:
    """Return the source of *file* with *styles* on its tags, by number.

    Args:
        rules: what is left of its style sheets, by number.
        keep_rules: leave the style sheets as they are.
    """
    edits: list[tuple[int, int, str]] = []
    for tag in file.tags:
        style = escape(styles.get(tag.number, ""), quote=False)
        if not style:
            continue
        if tag.style is None:
            edits.append((tag.after_name, tag.after_name, f" style={_quoted(style, _DOUBLE)}"))
        else:
            begin, _, quote = tag.style
            edits.append((begin, begin, f"{_quoted(style, quote)[1:-1]}; "))
    if not keep_rules and all(tag.number in styles for tag in file.tags):
        edits += [_rest(file.source, sheet, rules.get(sheet.number)) for sheet in file.sheets]
    source = file.source
    for begin, end, text in sorted(edits, reverse=True):
        source = source[:begin] + text + source[end:]
    return source


def _quoted(style: str, quote: str) -> str:
    return quote + style.replace(quote, f"&#{ord(quote)};") + quote


def _rest(source: str, sheet: _Sheet, rules: str | None) -> tuple[int, int, str]:
    """Return the edit that leaves only *rules* in *sheet*, on as many lines as there were."""
    if rules is None:
        return (*sheet.content, source[slice(*sheet.content)])
    left = "\n".join(rule.strip() for rule in _rules(rules) if _may_match(rule))
    begin, end = sheet.content if left else sheet.span
    lines = source.count("\n", begin, end) - left.count("\n")
    # A comment of Jinja's keeps the lines and is not sent.
    return begin, end, left + ("{#" + "\n" * lines + "#}" if lines > 0 else "")
