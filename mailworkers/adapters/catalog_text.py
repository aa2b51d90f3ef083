"""The text part of templates that bring none: made of the HTML when it is rendered.

Of the rendered HTML, not of the template: only there values are what they will be, and no markup
can be left over. Only templates without `body.txt` pay for it, 0.1 to 0.5 ms a message.
"""

from functools import cache
from typing import Any

NEEDED = "mailworkers[templates]"  # the extra that brings the library


def is_available() -> bool:
    """Return whether the library is installed."""
    try:
        _library()
    except ImportError:
        return False
    return True


def text_of(html: str) -> str:
    """Return what *html* says as plain text, each link followed by its address."""
    get_text, config = _library()
    lines = [line.rstrip() for line in get_text(html, config).strip().splitlines()]
    kept = [line for line, above in zip(lines, ["", *lines], strict=False) if line or above]
    return "\n".join(kept) + "\n"


@cache
def _library() -> tuple[Any, Any]:
    # Imported where it is needed: most catalogs have their texts written by people.
    from inscriptis import get_text
    from inscriptis.model.config import ParserConfig
    from inscriptis.model.html_document_state import HtmlDocumentState
    from inscriptis.model.tag import CustomHtmlTagHandlerMapping

    def begin(state: HtmlDocumentState, attributes: dict[str, str]) -> None:
        state.link_target = attributes.get("href", "")

    def end(state: HtmlDocumentState) -> None:
        if state.link_target:
            state.tags[-1].write(f" <{state.link_target}>")

    handlers = CustomHtmlTagHandlerMapping(
        start_tag_mapping={"a": begin}, end_tag_mapping={"a": end}
    )
    return get_text, ParserConfig(custom_html_tag_handler_mapping=handlers)
