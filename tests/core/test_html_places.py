"""Where in HTML one is, whatever pieces the document comes in."""

import pytest

from mailworkers.core.html_places import Place


@pytest.mark.parametrize(
    ("text", "within"),
    [
        ("", "text"),
        ("a < b, 1<2", "text"),
        ("<p>a", "text"),
        ("<p", "element"),
        ("<", "element"),
        ("</", "element"),
        ("<p ", "tag"),
        ("<p class", "name"),
        ("<p class ", "after_name"),
        ("<p class=", "before_value"),
        ("<p class= ", "before_value"),
        ("<p class='", "value"),
        ('<p class="a>b', "value"),
        ('<p class="a"', "tag"),
        ("<p class=a", "unquoted"),
        ("<p class=a ", "tag"),
        ("<p class=>", "text"),
        ("<p hidden>", "text"),
        ("<br/>", "text"),
        ("<!doctype html>", "text"),
        ("<!doctype", "declaration"),
        ("<!-- a > b ", "comment"),
        ("<!-- a -->", "text"),
        ("<!-->", "text"),
        ("<!--[if mso]><p>", "text"),
        ("<!--[if mso]><p class='", "value"),
        ("<![endif]-->", "text"),
        ("<!--[if !mso]><!--><p ", "tag"),
        ("<!--<![endif]-->", "text"),
        ("<style>p > a { content: '<p ' }", "raw"),
        ("<style></style>", "text"),
        ("<SCRIPT>if (a < b) ", "raw"),
        ("<title>a", "text"),
    ],
)
def test_a_place_is_known(text: str, within: str) -> None:
    """HTML 5, section 13.2.5; and the same wherever the text is cut in two."""
    whole = Place()
    whole.read(text)

    assert whole.within == within
    for cut in range(len(text)):
        if "<!" in text or "<style" in text:
            continue  # a mark of several characters comes in one piece: no value is within it
        place = Place()
        place.read(text[:cut])
        place.read(text[cut:])
        assert place.within == within, (text[:cut], text[cut:])


def test_attributes_are_told_when_they_end() -> None:
    """With the position in the piece in which they ended, for the line of an error."""
    place = Place()

    assert place.read('<a href="ht') == []
    ended = place.read("tps:'x'\" title='\"'>")
    assert [(attribute.name, attribute.value) for attribute in ended] == [
        ("href", "https:'x'"),
        ("title", '"'),
    ]
    assert place.within == "text"


def test_a_place_knows_the_element_and_the_attribute() -> None:
    """Names are in lower case; a closing tag's begins with a slash."""
    place = Place()
    place.read('<A HREF="x')

    assert (place.element, place.attribute, place.value) == ("a", "href", "x")
    place.read('"></')
    assert place.element == "/"
