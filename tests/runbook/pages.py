"""What the pages of the runbook say: their headings, links, commands, queries and shown outputs."""

import re
import shlex
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
RUNBOOK = ROOT / "docs" / "runbook"
PAGES = {path.stem: path.read_text("utf-8") for path in sorted(RUNBOOK.glob("*.md"))}
LANGUAGES = {"sh", "sql", "text", "markdown"}  # the last one is a form to fill in

# Not run here, each for its reason; `sh -n` has read them all.
OF_THE_SYSTEM = {
    "systemctl status ": "asks systemd, which is not there in a test",
    "systemctl start redis-server": "the scene ends the outage itself",
    "systemctl start postgresql": "the scene ends the outage itself",
    "journalctl ": "reads systemd's journal",
    "df -h /var/lib/": "a directory of the stores' own packages",
    "redis-cli ": "a program of Debian's package; our Valkey comes without it",
    "sudo mailworkers shell": "every line but those of `mailworkers` is typed in one",
    "sudo ops/": "tests/ops does them on a Debian of its own",
    "sudo /opt/mailworkers/current/ops/": "as those, of the release that is installed",
    "promtool ": "tests/telemetry runs it",
}
# What the stage does in the place of systemd.
OF_THE_UNIT = (
    "systemctl start mailworkers",
    "systemctl stop mailworkers",
    "systemctl restart mailworkers",
)


class Block(NamedTuple):
    """One fenced block of *page* below *heading*; *shown* is the output printed below it."""

    page: str
    heading: str
    language: str
    text: str
    shown: str

    @property
    def commands(self) -> list[str]:
        """Return the lines of a `sh` block, those split by a backslash in one."""
        whole = self.text.replace("\\\n", " ").splitlines()
        return [line for line in whole if line.strip() and not line.startswith("#")]


def blocks(page: str) -> list[Block]:
    """Return the blocks of *page* in order; each `text` goes to the block above it."""
    found: list[Block] = []
    for heading, language, text in _fences(PAGES[page]):
        if language == "text":
            found[-1] = found[-1]._replace(shown=text)
        else:
            found.append(Block(page, heading, language, text, ""))
    return found


def _fences(source: str) -> Iterator[tuple[str, str, str]]:
    heading, language, lines = "", None, list[str]()
    for line in source.splitlines():
        fence = re.fullmatch(r" *```(\w*)", line)
        if fence and language is None:
            language, lines = fence[1], []
        elif fence and language is not None:
            yield heading, language, textwrap.dedent("\n".join(lines))
            language = None
        elif language is not None:
            lines.append(line)
        elif line.startswith("#"):
            heading = line.lstrip("# ")


def prose(page: str) -> str:
    """Return *page* without its fenced blocks."""
    return re.sub(r"(?ms)^ *```.*?^ *```$", "", PAGES[page])


def headings(page: str) -> list[str]:
    """Return the headings of the second level in order."""
    return re.findall(r"^## (.+)$", prose(page), re.MULTILINE)


def anchors(path: Path) -> set[str]:
    """Return what can stand behind `#` in a link to *path*, as GitHub makes it of headings."""
    titles = re.findall(r"^#+ (.+)$", path.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def typed_commands(page: str) -> Iterator[list[str]]:
    """Yield the words behind `mailworkers` of every command in the blocks of *page*."""
    for block in blocks(page):
        if block.language == "sh":
            for line in block.commands:
                yield from _words(line)


def named_commands(page: str) -> Iterator[list[str]]:
    """Yield the words behind `mailworkers` of every command that the text of *page* names."""
    for span in re.findall(r"`(mailworkers [^`]+)`", prose(page).replace("\n", " ")):
        yield from _words(span)


def _words(line: str) -> Iterator[list[str]]:
    reader = shlex.shlex(line, posix=True, punctuation_chars=True)
    reader.whitespace_split = True
    command: list[str] = []
    for word in [*reader, ";"]:
        if not set(word) <= set("|;<>&()"):
            command.append(word)
            continue
        if command[:1] == ["mailworkers"]:
            yield command[1:]
        command = []


def statements(page: str) -> Iterator[str]:
    """Yield every statement of SQL that *page* prints."""
    for block in blocks(page):
        if block.language == "sql":
            bare = re.sub(r"(?m)^ *--.*$", "", block.text)
            yield from filter(None, map(str.strip, bare.split(";")))


def pattern_of(line: str) -> re.Pattern[str]:
    """Return what an output's line must look like to be *line*: its words, in their order.

    Ids, numbers, times and addresses may be others, `...` may be anything.
    """
    words = [_word(word) for word in line.split()]
    spanless = re.sub(rf"(?:{re.escape(_SPAN)} )+", f"{_SPAN} ", " ".join(words) + " ").split()
    made = r"\s+".join(spanless).replace(_SPAN, r"(?:now|\d+[dhms](?:\s+\d+[hms])*)")
    return re.compile(re.sub(rf"(?:\\s\+)?{re.escape(_ANYTHING)}(?:\\s\+)?", ".*", made))


_SPAN, _ANYTHING = "<span>", "<anything>"
_ID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"


def _word(word: str) -> str:
    """Return the pattern of one word, a mark for what is more or less than a word."""
    if re.fullmatch(r"\d+[dhms]", word):
        return _SPAN
    if "example.com" in word or word.startswith("/var/"):
        return r"\S+"
    parts = re.split(rf"({_ID}|\.\.\.|\d[\d.]*)", word)
    return "".join(_part(part) for part in parts)


def _part(part: str) -> str:
    if part == "...":
        return _ANYTHING
    if re.fullmatch(_ID, part):
        return "[0-9a-f-]{36}"
    return r"[\d.]+" if part[:1].isdecimal() else re.escape(part)


def missing(shown: str, output: str) -> list[str]:
    """Return the lines of *shown* that nothing in *output* looks like."""
    there = [line.strip() for line in output.splitlines()]
    return [
        line
        for line in filter(str.strip, shown.splitlines())
        if not any(pattern_of(line).fullmatch(found) for found in there)
    ]
