"""Where in HTML one is: text, a tag, an attribute's value, a comment, a script (HTML 5, 13.2.5).

It reads piece after piece of a document that is not there as a whole, such as the parts of a
template between its values. Outlook's conditional comments are read as if they were not comments,
since their content is HTML to it.
"""

import re

import msgspec

_MARKUP = re.compile(r"<(?=[A-Za-z/!?]|\Z)")
_OUTLOOK = re.compile(
    r"<!--\[if[^\]]*\]>(?:<!-->)?|<!\[endif\](?:--)?>|<!--<!\[endif\]-->|<!--+>", re.IGNORECASE
)
_ELEMENT = re.compile(r"[^\s/>]*")
_BLANKS = re.compile(r"[\s/]*")
_NAME = re.compile(r"[^\s=/>]*")
_SPACE = re.compile(r"\s*")
_UNQUOTED = re.compile(r"[^\s>]*")
_ENDS = {"comment": "-->", "declaration": ">"}
RAW = ("script", "style")  # elements whose content is no HTML


class Attribute(msgspec.Struct, frozen=True):
    """An attribute in quotes that was read to its end, which is at *position* of the piece."""

    name: str
    value: str
    position: int


class Place(msgspec.Struct):
    """A place in a document. `value` is that of the attribute, as far as it was read.

    `within` is `text`, `element` (its name), `tag` (between attributes), `name`, `after_name`,
    `before_value`, `value`, `unquoted`, `comment`, `declaration` or `raw`.
    """

    within: str = "text"
    element: str = ""
    attribute: str = ""
    quote: str = ""
    value: str = ""

    def read(self, text: str) -> list[Attribute]:
        """Go on through *text*; return the attributes that ended in it."""
        found: list[Attribute] = []
        position = 0
        while position < len(text):
            was_value = self.within == "value"
            name, begun = self.attribute, self.value
            end = _STEPS[self.within](self, text, position)
            if was_value and self.within != "value":
                found.append(Attribute(name, begun + text[position : end - 1], position))
            position = end
        return found

    def _text(self, text: str, position: int) -> int:
        found = _MARKUP.search(text, position)
        if found is None:
            return len(text)
        start = found.start()
        if outlook := _OUTLOOK.match(text, start):
            return outlook.end()
        for mark, within in (("<!--", "comment"), ("<!", "declaration"), ("<?", "declaration")):
            if text.startswith(mark, start):
                self.within = within
                return start + len(mark)
        self.within = "element"
        self.element = "/" if text.startswith("</", start) else ""
        return start + 1 + len(self.element)

    def _element(self, text: str, position: int) -> int:
        if not self.element and text[position] == "/":
            self.element = "/"
            return position + 1
        if self.element in ("", "/") and not text[position].isalpha():
            self.within, self.element = "text", ""
            return position
        end = _end(_ELEMENT, text, position)
        self.element += text[position:end].lower()
        if end < len(text):
            self.within = "tag"
        return end

    def _tag(self, text: str, position: int) -> int:
        end = _end(_BLANKS, text, position)
        if end < len(text):
            if text[end] == ">":
                return self._close(end)
            self.within, self.attribute, self.value = "name", "", ""
        return end

    def _close(self, position: int) -> int:
        """End the tag at its `>`."""
        self.within = "raw" if self.element in RAW else "text"
        self.attribute = ""
        return position + 1

    def _name(self, text: str, position: int) -> int:
        begin = position if self.attribute or text[position] != "=" else position + 1
        end = _end(_NAME, text, begin)
        self.attribute += text[position:end].lower()
        if end < len(text):
            self.within = "after_name"
        return end

    def _after_name(self, text: str, position: int) -> int:
        end = _end(_SPACE, text, position)
        if end < len(text):
            self.within = "before_value" if text[end] == "=" else "tag"
            return end + 1 if text[end] == "=" else end
        return end

    def _before_value(self, text: str, position: int) -> int:
        end = _end(_SPACE, text, position)
        if end == len(text):
            return end
        if text[end] in "\"'":
            self.within, self.quote, self.value = "value", text[end], ""
            return end + 1
        self.within = "tag" if text[end] == ">" else "unquoted"
        return end

    def _value(self, text: str, position: int) -> int:
        end = text.find(self.quote, position)
        if end < 0:
            self.value += text[position:]
            return len(text)
        self.within, self.attribute, self.quote, self.value = "tag", "", "", ""
        return end + 1

    def _unquoted(self, text: str, position: int) -> int:
        end = _end(_UNQUOTED, text, position)
        if end < len(text):
            self.within = "tag"
        return end

    def _skipped(self, text: str, position: int) -> int:
        end = text.find(_ENDS[self.within], position)
        if end < 0:
            return len(text)
        end += len(_ENDS[self.within])
        self.within = "text"
        return end

    def _raw(self, text: str, position: int) -> int:
        end = text.lower().find(f"</{self.element}", position)
        if end < 0:
            return len(text)
        self.within, self.element = "text", ""
        return end


def _end(pattern: re.Pattern[str], text: str, position: int) -> int:
    found = pattern.match(text, position)
    return found.end() if found else position


_STEPS = {
    "text": Place._text,
    "element": Place._element,
    "tag": Place._tag,
    "name": Place._name,
    "after_name": Place._after_name,
    "before_value": Place._before_value,
    "value": Place._value,
    "unquoted": Place._unquoted,
    "comment": Place._skipped,
    "declaration": Place._skipped,
    "raw": Place._raw,
}
