"""A drawing in SVG: just the shapes a chart needs, in colours that are told apart by everyone."""

from collections.abc import Sequence
from html import escape

INK = "#1f2933"
FAINT = "#9aa5b1"
GRID = "#e4e7eb"
OURS = "#0b69a3"
OTHERS = "#9fb3c8"
GOOD = "#2f8132"
BAD = "#ba2525"
LINES = ("#0b69a3", "#de911d", "#8719e0", "#ba2525")  # of series, in turn

Point = tuple[float, float]


class Drawing:
    """A page of *width* x *height* pixels, white; shapes lie in the order they are added."""

    def __init__(self, width: float, height: float) -> None:
        self._width = width
        self._height = height
        self._shapes: list[str] = []

    def text(
        self,
        at: Point,
        words: str,
        *,
        size: float = 13,
        colour: str = INK,
        anchor: str = "start",
        is_bold: bool = False,
    ) -> None:
        """Write *words* on the line of *at*; *anchor* is start, middle or end."""
        weight = ' font-weight="600"' if is_bold else ""
        self._shapes.append(
            f'<text x="{at[0]:.1f}" y="{at[1]:.1f}" font-size="{size:g}" fill="{colour}" '
            f'text-anchor="{anchor}"{weight}>{escape(words)}</text>'
        )

    def bar(self, at: Point, width: float, height: float, colour: str) -> None:
        """Draw a filled rectangle from its upper left corner."""
        self._shapes.append(
            f'<rect x="{at[0]:.1f}" y="{at[1]:.1f}" width="{max(width, 0):.1f}" '
            f'height="{height:.1f}" rx="2" fill="{colour}"/>'
        )

    def line(self, points: Sequence[Point], colour: str, width: float = 1.0) -> None:
        """Draw a line through *points*."""
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        self._shapes.append(
            f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="{width:g}"/>'
        )

    def dot(self, at: Point, colour: str, radius: float = 4) -> None:
        """Draw a filled circle."""
        self._shapes.append(
            f'<circle cx="{at[0]:.1f}" cy="{at[1]:.1f}" r="{radius:g}" fill="{colour}"/>'
        )

    def source(self) -> str:
        """Return the file's text."""
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self._width:g} '
            f'{self._height:g}" font-family="system-ui, sans-serif">\n'
            f'<rect width="100%" height="100%" fill="#ffffff"/>\n'
            + "\n".join(self._shapes)
            + "\n</svg>\n"
        )
