"""Style sheets put into `style=` attributes, once, when the catalog is loaded.

Many mail clients drop `<style>`, so its rules must stand on the elements. Templates are no HTML
until they are rendered; so nothing is rewritten here. Each start tag gets a number, the parts of a
page are put together with dummies for values, css-inline says which declarations each number ends
up with, and these are written into the sources, in front of what `style=` says there already.

What cannot stand on an element stays in `<style>`: @-rules such as media queries, `:hover` and its
like, rules that depend on the place among siblings (a loop is seen once here), and all of it where
a class is made by the template.
"""

from collections.abc import Callable, Iterator, Mapping
from html.parser import HTMLParser

import css_inline
from jinja2 import nodes

from mailworkers.adapters.catalog_markup import NUMBER, File, restyle, take_apart

Parse = Callable[[str, str], nodes.Template]


class StyleInliner:
    """Inlines the styles of pages, whose files are in *sources*, by name.

    Args:
        parse: makes a tree of a source and its name, as it is written.
    """

    def __init__(self, sources: Mapping[str, str], parse: Parse) -> None:
        self._sources = sources
        self._parse = parse
        self._known: dict[str, tuple[File, nodes.Template]] = {}
        self._library = css_inline.CSSInliner(
            load_remote_stylesheets=False, keep_style_tags=True, remove_inlined_selectors=True
        )

    def inline(self, root: str) -> dict[str, str]:
        """Return the files of the page *root*, by name, that change when its styles are inlined.

        Raises css_inline.InlineError when a style sheet cannot be read.
        """
        assembly = _Assembly(self._file)
        document = "".join(assembly.write(root))
        files = {name: self._file(name)[0] for name in assembly.names}
        if not any(file.sheets for file in files.values()):
            return {}
        found = _Numbered(self._library.inline(document))
        is_certain = all(file.is_certain for file in files.values())
        changed = {
            name: restyle(file, found.styles, found.rules, keep_rules=not is_certain)
            for name, file in files.items()
        }
        return {name: text for name, text in changed.items() if text != self._sources[name]}

    def _file(self, name: str) -> tuple[File, nodes.Template]:
        """Return a file taken apart, and its tree with every tag numbered."""
        if name not in self._known:
            file, numbered = take_apart(name, self._sources[name])
            self._known[name] = file, self._parse(numbered, name)
        return self._known[name]


class _Assembly:
    """Puts the parts of a page together: layout, blocks, includes, every branch, each loop once."""

    def __init__(self, file: Callable[[str], tuple[File, nodes.Template]]) -> None:
        self.file = file
        self.names: set[str] = set()
        self.blocks: dict[str, list[nodes.Block]] = {}

    def write(self, root: str) -> Iterator[str]:
        """Yield the text of the page."""
        tree = self._tree(root)
        while (extends := tree.find(nodes.Extends)) is not None:
            self._keep_blocks(tree)
            assert isinstance(extends.template, nodes.Const)  # noqa: S101  checked before
            tree = self._tree(extends.template.value)
        self._keep_blocks(tree)
        yield from self._write(tree.body, 0)

    def _tree(self, name: str) -> nodes.Template:
        self.names.add(name)
        return self.file(name)[1]

    def _keep_blocks(self, tree: nodes.Template) -> None:
        for block in tree.find_all(nodes.Block):
            self.blocks.setdefault(block.name, []).append(block)

    # One kind of node after the other: a table in one function.
    def _write(self, body: list[nodes.Node], level: int, block: str = "") -> Iterator[str]:  # noqa: C901
        """Yield the text of *body*, which is of the *level*-th parent of *block*."""
        for node in body:
            match node:
                case nodes.TemplateData():
                    yield node.data
                case nodes.Call(node=nodes.Name(name="super")):
                    yield from self._block(block, level + 1)
                case nodes.Expr():
                    yield "x"
                case nodes.Output():
                    yield from self._write(list(node.nodes), level, block)
                case nodes.Block():
                    yield from self._block(node.name, 0)
                case nodes.Include(template=nodes.Const(value=name)):
                    yield from self._write(self._tree(name).body, level, block)
                case nodes.If():
                    branches = [node.body, *(other.body for other in node.elif_), node.else_]
                    for branch in branches:
                        yield from self._write(branch, level, block)
                case nodes.For():
                    yield from self._write([*node.body, *node.else_], level, block)
                case _ if isinstance(getattr(node, "body", None), list):
                    yield from self._write(getattr(node, "body"), level, block)  # noqa: B009

    def _block(self, name: str, level: int) -> Iterator[str]:
        """Yield the text of a block: the youngest, or with *level* one it stands for."""
        found = self.blocks.get(name, [])[level : level + 1]
        for block in found:
            yield from self._write(block.body, level, name)


class _Numbered(HTMLParser):
    """What became of the numbered elements: the styles of tags, the rules left in sheets."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.styles: dict[str, str] = {}
        self.rules: dict[str, str] = {}
        self._sheet = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep the style of a numbered element."""
        given = dict(attrs)
        number = given.get(NUMBER) or ""
        self._sheet = number if tag == "style" else ""
        if number and tag != "style":
            self.styles[number] = (given.get("style") or "").strip().rstrip(";")
        elif number:
            self.rules[number] = ""

    def handle_endtag(self, tag: str) -> None:  # noqa: ARG002  the library's signature
        """The end of a style sheet."""
        self._sheet = ""

    def handle_data(self, data: str) -> None:
        """Keep what is left of a numbered style sheet."""
        if self._sheet:
            self.rules[self._sheet] += data
