"""The pages of the runbook: found at once, whole, and nothing in them that does not exist."""

import re
import subprocess
from datetime import date

import click
import pytest
import yaml

from mailworkers.adapters import db
from mailworkers.adapters.instruments import INSTRUMENTS
from mailworkers.adapters.setting_table import CLIENT_NAMES, NAMES
from mailworkers.cli.main import main
from tests.runbook.pages import (
    LANGUAGES,
    OF_THE_SYSTEM,
    OF_THE_UNIT,
    PAGES,
    ROOT,
    RUNBOOK,
    anchors,
    blocks,
    headings,
    missing,
    named_commands,
    prose,
    statements,
    typed_commands,
)

_ORDER = ["At a glance", "Why", "First moves", "Over when", "Afterwards"]
_NAMES = {
    "DELIVERY_ID": "01a20291-6030-7aea-b53a-09fda0bf1d42",
    "NUMBER": "1",
    "PAUSE_ID": "1",
    "ID": "01a20291-6030-7aea-b53a-09fda0bf1d42",
    "N": "4",
    "ROLE": "sender",
}
_EVERY_PAGE = pytest.mark.parametrize("page", PAGES)


def test_the_index_leads_to_every_page() -> None:
    """One try: what is not in it is not found at night."""
    linked = set(re.findall(r"\]\(([\w-]+)\.md", PAGES["README"]))

    assert linked == set(PAGES) - {"README"}


@_EVERY_PAGE
def test_every_link_leads_to_a_page_and_a_heading_there(page: str) -> None:
    """A link to a heading that was renamed opens the page at its top, and costs a minute."""
    broken = []
    for target, anchor in re.findall(r"\]\(([^)#:]*)(?:#([^)]*))?\)", prose(page)):
        path = (RUNBOOK / target).resolve() if target else RUNBOOK / f"{page}.md"
        if not path.exists() or (anchor and anchor not in anchors(path)):
            broken.append(f"{target}#{anchor}")

    assert broken == []


def test_every_alarm_leads_to_its_entry_and_from_there_to_its_page() -> None:
    """What the pager shows is where one begins to read."""
    groups = yaml.safe_load((ROOT / "ops/prometheus/alerts.yml").read_text())["groups"]
    alarms = [rule for group in groups for rule in group["rules"] if "alert" in rule]
    entries = dict(re.findall(r"(?ms)^## (\w+)\n(.*?)(?=^## |\Z)", PAGES["alerts"]))

    for alarm in alarms:
        place, _, anchor = alarm["annotations"]["runbook"].partition("#")
        assert anchor in anchors(ROOT / place), alarm["alert"]
        assert re.search(r"\*\*Page\*\*: \[.+\]\(.+\.md.*\)", entries[alarm["alert"]])


def test_a_page_about_a_fault_has_its_five_parts_in_order() -> None:
    """Whoever is called at three knows where to look before the page is read."""
    about_faults = [page for page in PAGES if "First moves" in headings(page)]

    assert len(about_faults) >= 10
    assert {page: headings(page) for page in about_faults} == dict.fromkeys(about_faults, _ORDER)


def test_somebody_owns_the_pages_and_has_gone_through_them() -> None:
    """With a date; who is called when is a table."""
    told = re.search(r"Last gone through from end to end: (\S+)\.", PAGES["README"])

    assert told
    assert date(2026, 11, 22) <= date.fromisoformat(told[1])
    assert "| owner of this service and of these pages |" in PAGES["README"]


@_EVERY_PAGE
def test_pages_are_short_and_fit_a_terminal(page: str) -> None:
    """At most 120 columns, but for tables and what is shown; but for lists, 120 lines."""
    lines = prose(page).splitlines()

    assert [line for line in lines if len(line) > 120 and not line.startswith("|")] == []
    assert len(PAGES[page].splitlines()) <= 130 or page in {"README", "alerts"}


@_EVERY_PAGE
def test_every_block_is_of_a_kind_that_is_tried(page: str) -> None:
    """`sh`, `sql`, what they print, and one form."""
    assert {block.language for block in blocks(page)} <= LANGUAGES


@_EVERY_PAGE
def test_every_line_is_one_for_the_plainest_shell(page: str) -> None:
    """Also those that only the operating system can do."""
    lines = [line for block in blocks(page) if block.language == "sh" for line in block.commands]
    for line in lines:
        checked = subprocess.run(["sh", "-nc", line], capture_output=True, text=True, check=False)

        assert checked.returncode == 0, checked.stderr


def test_what_is_not_run_is_printed_somewhere() -> None:
    """The list of exceptions has no leftovers."""
    printed = [line for page in PAGES for block in blocks(page) for line in block.commands]

    for exception in [*OF_THE_SYSTEM, *OF_THE_UNIT]:
        assert any(line.startswith(exception) for line in printed), exception


@_EVERY_PAGE
def test_every_command_of_ours_exists_with_these_options(page: str) -> None:
    """Parsed as if it were typed; the text may name one without what it wants to know."""
    for words in typed_commands(page):
        _parse([_NAMES.get(word, word) for word in words])
    for words in named_commands(page):
        _parse([_NAMES.get(word, word) for word in words], is_name_enough=True)


def _parse(words: list[str], *, is_name_enough: bool = False) -> None:
    """Raise click's own error where *words* are no command line of ours."""
    command: click.Command = main
    context = click.Context(main, info_name="mailworkers")
    while words and isinstance(command, click.Group):
        found = command.get_command(context, words[0])
        assert found is not None, f"no such command: {words}"
        command, words = found, words[1:]
        context = click.Context(command, parent=context, info_name=command.name)
    if words or not is_name_enough:
        command.make_context(command.name, [*words])


def test_a_command_that_does_not_exist_is_noticed() -> None:
    """The test above can fail."""
    for words in (["status", "--colour"], ["deliveries", "shout"], ["pause", "--all"]):
        with pytest.raises((click.ClickException, AssertionError)):
            _parse(words)


@_EVERY_PAGE
def test_every_metric_and_setting_that_is_named_exists(page: str) -> None:
    """A number that nobody counts is looked for in vain, a setting set in vain."""
    text = PAGES[page]
    metrics = {instrument.prometheus_name for instrument in INSTRUMENTS}
    named = set(re.findall(r"`((?:mail|retries|retry|service)_\w+)", text))
    settings = set(re.findall(r"`(MAIL_[A-Z_]+)[`=]", prose(page)))

    assert named <= metrics
    assert settings <= NAMES | CLIENT_NAMES


@_EVERY_PAGE
def test_every_query_is_one_of_this_schema(page: str, conn: db.Connection) -> None:
    """On an empty database; the slow test asks them where there is something to find."""
    for statement in statements(page):
        conn.execute(statement.encode())


@pytest.mark.parametrize(
    ("shown", "output", "fits"),
    [
        ("up 3d 4h", "up 10s", True),
        ("up 3d 4h", "up now", True),
        ("relay   smtp.example.com:587   breaker closed", "relay 127.0.0.1:9 breaker closed", True),
        ("relay   smtp.example.com:587   breaker closed", "relay 127.0.0.1:9 breaker open", False),
        ("x 01a20291-6030-7aea-b53a-09fda0bf1d42", "x 344278af-c0df-49d9-9179-03a05cbc837c", True),
        ("relay   smtp.example.com:587   breaker closed", "relay   h:9   breaker closed", True),
        ("retention   1 3d 4h   bulk", "retention     1  1m 3s           bulk", True),
        ("redis: Error ...", "redis: Error 2 connecting", True),
        ("MODE    smtp   ...", "MODE  smtp     environment", True),
        ("MODE    smtp   ...", "MODE  stub     environment", False),
        ("4 of 4 can", "3 of 7 can", True),
        ("4 of 4 can", "none of 4 can", False),
    ],
)
def test_an_output_is_judged_by_its_words(shown: str, output: str, fits: bool) -> None:
    """Numbers, times, ids and addresses are tonight's."""
    assert (missing(shown, output) == []) == fits
