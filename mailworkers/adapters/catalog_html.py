"""What a value may be where it stands in the HTML, found when a template is compiled.

Escaping makes a value safe in text and in quoted attributes, and nowhere else. So a template is
refused where a value would be the name of an element or attribute, a script, or an attribute
without quotes; a value that begins a link is checked for its scheme when it is rendered, and one in
`style=` for what CSS could do with it.
"""

import re
from typing import Any, NoReturn

import msgspec
from jinja2 import TemplateSyntaxError, nodes
from jinja2.exceptions import SecurityError

from mailworkers.core.html_places import Place

LINK, STYLE = "checked link", "checked style"  # filters; no template can name them
SCHEMES = ("https", "http", "mailto", "tel", "cid")

_LINKS = frozenset(
    {"action", "background", "cite", "data", "formaction", "href", "longdesc", "poster", "src"}
    | {"xlink:href"}
)
_CODE = frozenset({"ping", "srcdoc", "srcset"})  # attributes in which no value can be judged
_LINK = re.compile(rf"(?:{'|'.join(SCHEMES)}):[^\s\x00-\x20\x7f-\x9f\\]+", re.IGNORECASE)
_STYLE = re.compile(r"[A-Za-z0-9#.,% -]{0,200}")
_SCHEME = re.compile(r"([^:/?#]*):")
_INVISIBLE = re.compile(r"[\x00-\x20\x7f]+")  # browsers leave it out of a scheme
_VALUE = "\ufffc"  # stands for a value in what was read of an attribute
_DECIDES = f":/?#{_VALUE}"  # after one of these nothing can be a scheme
_WHERE = {
    "text": "",
    "comment": "",
    "declaration": "",
    "before_value": "an attribute's value needs quotes",
    "unquoted": "an attribute's value needs quotes",
    "raw": "no value can stand in a script or a style sheet",
}
_NO_NAME = "a value cannot be the name of an element or an attribute"


def check_link(value: Any) -> Any:
    """Return *value*, which begins a link; SecurityError unless its scheme is an allowed one."""
    if isinstance(value, str) and _LINK.fullmatch(value):
        return value
    raise SecurityError(f"a link must begin with {', '.join(f'{s}:' for s in SCHEMES)}")


def check_style(value: Any) -> Any:
    """Return *value*, which stands in `style=`; SecurityError for anything but words and sizes."""
    if isinstance(value, int | float) or (isinstance(value, str) and _STYLE.fullmatch(value)):
        return value
    raise SecurityError("a value in style= must be a number, a size, a colour or a word")


def guard_html(tree: nodes.Template, name: str | None) -> None:
    """Put the checks of links and styles into *tree*.

    Raises TemplateSyntaxError where no value could stand, or where the place is not certain.
    """
    _Guard(name).follow(tree.body, Place())


class _Guard:
    """Goes through a tree in the order of the document, knowing where in the HTML it is."""

    def __init__(self, name: str | None) -> None:
        self.name = name

    def follow(self, body: list[nodes.Node], place: Place) -> Place:
        """Go through *body* from *place* on; return the place where it ends."""
        for node in body:
            place = self._node(node, place)
        return place

    def _node(self, node: nodes.Node, place: Place) -> Place:
        match node:
            case nodes.Output():
                return self._output(node, place)
            case nodes.If():
                return self._branches(node, place)
            case nodes.For():
                self._same(node, place, self._from(place, node.body), "the loop")
                self._same(node, place, self._from(place, node.else_), "the else of the loop")
            case nodes.Block() | nodes.CallBlock() | nodes.Include() if place.within != "text":
                self._refuse(node.lineno, "this cannot stand inside a tag")
            case nodes.Block() | nodes.CallBlock() | nodes.Macro() | nodes.AssignBlock():
                self._same(node, Place(), self.follow(node.body, Place()), "this part")
            case nodes.FilterBlock() | nodes.With() | nodes.Scope():
                return self.follow(node.body, place)
        return place

    def _from(self, place: Place, body: list[nodes.Node]) -> Place:
        return self.follow(body, msgspec.structs.replace(place))

    def _branches(self, node: nodes.If, place: Place) -> Place:
        """Go through all branches; they must end in one place."""
        end = self._from(place, node.body)
        for other in node.elif_:
            self._same(other, end, self._from(place, other.body), "the elif")
        self._same(node, end, self._from(place, node.else_), "the else, or doing without it,")
        return end

    def _same(self, node: nodes.Node, place: Place, other: Place, what: str) -> None:
        if _kind(place) != _kind(other):
            self._refuse(node.lineno, f"{what} ends elsewhere in the HTML than what it stands for")

    def _refuse(self, line: int, reason: str) -> NoReturn:
        raise TemplateSyntaxError(reason, line, self.name)

    def _output(self, node: nodes.Output, place: Place) -> Place:
        for number, child in enumerate(node.nodes):
            if not isinstance(child, nodes.TemplateData):
                node.nodes[number] = self._value(child, place)
                continue
            for attribute in place.read(child.data):
                line = child.lineno + child.data.count("\n", 0, attribute.position)
                self._judge_scheme(attribute.name, attribute.value, line)
        return place

    def _value(self, node: nodes.Expr, place: Place) -> nodes.Expr:
        """Return *node*, which is written at *place*, with the check it needs there."""
        if place.within == "value":
            return self._in_attribute(node, place)
        if reason := _WHERE.get(place.within, _NO_NAME):
            self._refuse(node.lineno, reason)
        return node

    def _in_attribute(self, node: nodes.Expr, place: Place) -> nodes.Expr:
        before, place.value = place.value, place.value + _VALUE
        if place.attribute.startswith("on") or place.attribute in _CODE:
            self._refuse(node.lineno, f"no value can stand in {place.attribute}=")
        if place.attribute == "style":
            return _checked(STYLE, node)
        if place.attribute not in _LINKS or any(c in before for c in _DECIDES):
            self._judge_scheme(place.attribute, before, node.lineno)
            return node
        if before.strip():
            self._refuse(node.lineno, "a link's scheme stands all in the value or all before it")
        return _checked(LINK, node)

    def _judge_scheme(self, attribute: str, value: str, line: int) -> None:
        """Refuse a link that the template itself begins with a scheme that is not allowed."""
        if attribute not in _LINKS:
            return
        scheme = _SCHEME.match(_INVISIBLE.sub("", value))
        if scheme and _VALUE not in scheme[1] and scheme[1].lower() not in SCHEMES:
            self._refuse(line, f"a link cannot begin with {scheme[1].lower()}:")


def _checked(name: str, node: nodes.Expr) -> nodes.Filter:
    return nodes.Filter(node, name, [], [], None, None, lineno=node.lineno)


def _kind(place: Place) -> tuple[str, ...]:
    """Return what must be the same for two places to be treated as one."""
    decided = "decided" if any(c in place.value for c in _DECIDES) else place.value.strip()
    element = place.element if place.within != "text" else ""
    return (place.within, element, place.attribute, place.quote, decided)
