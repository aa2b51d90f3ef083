"""`mailworkers bench compose`: it runs, and compares messages that say the same."""

from email import message_from_bytes
from email.policy import default
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

from mailworkers.bench.composing import Workbench
from mailworkers.bench.scenarios.compose import check_alike
from mailworkers.bench.testbed import BenchFailed
from mailworkers.cli.main import main

FIGURES = {
    "ratio_to_emailmessage",
    "template_us",
    "signed_us",
    "rendered_us",
    "attachment_us",
    "attachment_with_decoding_us",
    "emailmessage_us",
    "other_cores",
}


def test_composing_is_measured_and_answered_in_one_json_object() -> None:
    """Every figure has its median by name and all its rounds below `spread`."""
    command = ["bench", "compose", "--messages", "10", "--repeat", "2", "--json"]

    done = CliRunner().invoke(main, command)

    assert done.exit_code == 0, done.output
    found = msgspec.json.decode(done.stdout)
    assert found["scenario"] == "compose"
    assert found["spread"].keys() == FIGURES <= found.keys()
    assert all(found[name] > 0 for name in FIGURES - {"other_cores"})
    assert len(found["spread"]["ratio_to_emailmessage"]["runs"]) == 2
    assert "exactly_once" not in found
    assert {"machine", "versions", "settings"} < found.keys()


def test_the_table_has_the_same_words() -> None:
    """For people."""
    done = CliRunner().invoke(main, ["bench", "compose", "--messages", "1", "--repeat", "1"])

    assert done.exit_code == 0, done.output
    assert all(name in done.stdout for name in FIGURES)


def test_every_way_makes_the_message_its_name_says(tmp_path: Path) -> None:
    """A figure of something else would be no figure."""
    bench = Workbench(tmp_path, 2048)
    template, signed, attachment = bench.template(), bench.signed(), bench.attachment()
    html = message_from_bytes(template(1), policy=default).get_body(("html",))
    (file,) = message_from_bytes(attachment(1), policy=default).iter_attachments()

    assert html is not None
    assert len(html.get_content()) > 2048
    assert signed(1).startswith(b"DKIM-Signature: v=1; a=rsa-sha256;")
    assert signed(1).endswith(template(1))
    assert len(file.get_content()) == 1024 * 1024
    assert template(1) != template(2)
    assert bench.rendered()(1).count(b"\r\n") > 20
    assert attachment(1) == bench.attachment_with_decoding()(1)


def test_messages_that_differ_are_not_compared(tmp_path: Path) -> None:
    """Else a writer that leaves something out would look fast."""
    bench = Workbench(tmp_path, 2048)
    ours, theirs = bench.template(), bench.emailmessage()

    check_alike(ours(1), theirs(1))
    with pytest.raises(BenchFailed):
        check_alike(ours(1), theirs(2))
