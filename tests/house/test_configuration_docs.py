"""docs/configuration.md says what the code reads, and nothing else."""

import re
from pathlib import Path

from mailworkers.adapters import setting_rules
from mailworkers.adapters.setting_table import NAMES
from mailworkers.cli.configuration import reference_tables

PAGE = Path(__file__).resolve().parents[2] / "docs" / "configuration.md"


def test_the_reference_in_the_page_is_the_codes() -> None:
    """After a change: copy what `mailworkers config --reference` prints to the end of the page."""
    page = PAGE.read_text(encoding="utf-8")

    assert page.endswith(reference_tables())


def test_the_page_names_no_setting_that_nobody_reads() -> None:
    """A name that was dropped must go from the page as well."""
    written = set(re.findall(r"\b(?:MAIL_[A-Z_]*[A-Z]|HTTP_PORT|LOG_LEVEL)\b", PAGE.read_text()))

    assert written <= NAMES


def test_the_page_lists_every_refused_contradiction() -> None:
    """One row a rule; the relay's completeness stands in the list above."""
    rules = re.search(r"\| rule \| why \|\n\| --- \| --- \|\n((?:\|.*\n)+)", PAGE.read_text())

    assert rules
    assert len(rules.group(1).splitlines()) == len(setting_rules.CONFLICTS)
