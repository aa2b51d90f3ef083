"""`mailworkers dkim`: a key from its making to a published record, against a real nameserver."""

import json
import re
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import dns.rcode
import pytest
from click.testing import CliRunner, Result

from mailworkers.adapters.dkim_keys import write_key
from mailworkers.cli.main import main
from mailworkers.core.dkim import Algorithm
from tests.dkim_keys import pem, published, put_key
from tests.nameserver import Nameserver, nameserver

__all__ = ["nameserver"]

Run = Callable[..., Result]
NAME = "s1._domainkey.example.org"


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    """Return an empty MAIL_DKIM_DIR."""
    directory = tmp_path / "dkim"
    directory.mkdir()
    return directory


@pytest.fixture
def run(keys: Path) -> Run:
    """Return what runs a command with `keys`, and nothing else set."""

    def call(*arguments: str, **changes: str) -> Result:
        environ = {"MAIL_DKIM_DIR": str(keys), **changes}
        result = CliRunner().invoke(main, ["dkim", *arguments], env=environ)
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return call


def check(run: Run, nameserver: Nameserver, *arguments: str, **changes: str) -> Result:
    """Run `dkim check` against *nameserver*; example.org signs with s1 unless changed."""
    options = ("--nameserver", nameserver.addr, "--timeout", "10")
    return run(
        "check", *arguments, *options, **{"MAIL_DKIM_SELECTORS": "example.org:s1", **changes}
    )


# keygen


def test_keygen_writes_a_key_and_prints_its_record(run: Run, keys: Path) -> None:
    """The record, and what to do next, in the order in which it is safe."""
    result = run("keygen", "--domain", "Example.ORG", "--selector", "s1")

    file = keys / "example.org" / "s1.pem"
    assert result.exit_code == 0
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert f'{NAME}.\tIN\tTXT\t( "v=DKIM1; k=rsa; p=MII' in result.stdout
    assert re.search(rf"^name +{NAME}$", result.stdout, re.MULTILINE)
    check_line = result.stdout.index("mailworkers dkim check example.org --selector s1")
    assert check_line < result.stdout.index("add example.org:s1 to MAIL_DKIM_SELECTORS")
    assert "PRIVATE" not in result.output


def test_keygen_never_overwrites(run: Run, keys: Path) -> None:
    """The old key is the only one that fits the published record."""
    put_key(keys, "example.org", "s1")

    result = run("keygen", "--domain", "example.org", "--selector", "s1")

    assert result.exit_code == 1
    assert "exists and is not overwritten: choose another --selector" in result.stderr
    assert (keys / "example.org" / "s1.pem").read_bytes() == pem(Algorithm.RSA)


def test_keygen_as_json_has_all_that_a_dns_provider_asks_for(run: Run, keys: Path) -> None:
    """For programs that publish it."""
    result = run(
        *("keygen", "--domain", "example.org", "--selector", "s1", "--algorithm", "ed25519"),
        "--json",
    )

    made = json.loads(result.stdout)
    assert made["key"] == str(keys / "example.org" / "s1.pem")
    assert (made["name"], made["type"], made["pieces"]) == (NAME, "TXT", [made["text"]])
    assert re.fullmatch(r"v=DKIM1; k=ed25519; p=[A-Za-z0-9+/]{43}=", made["text"])


@pytest.mark.parametrize(
    "options",
    [
        ("--domain", "example.org"),
        ("--domain", "a b", "--selector", "s1"),
        ("--domain", "example.org", "--selector", "../x"),
        ("--domain", "example.org", "--selector", "s1", "--bits", "1024"),
        ("--domain", "example.org", "--selector", "s1", "--algorithm", "dsa"),
    ],
)
def test_keygen_refuses_what_would_not_do(run: Run, keys: Path, options: tuple[str, ...]) -> None:
    """Before anything is written."""
    assert run("keygen", *options).exit_code == 2
    assert list(keys.iterdir()) == []


def test_keygen_says_when_it_cannot_write(run: Run) -> None:
    """No traceback."""
    options = ("--domain", "example.org", "--selector", "s1", "--directory", "/proc/dkim")

    result = run("keygen", *options)

    assert result.exit_code == 1
    assert "/proc/dkim/example.org/s1.pem cannot be written" in result.stderr


# record


def test_record_prints_what_keygen_printed(run: Run, keys: Path) -> None:
    """As often as it is wanted: as a zone file has it, and as one text."""
    file = put_key(keys, "example.org", "s1")
    (text,) = published(file).values()

    result = run("record", "example.org", "s1")

    assert result.exit_code == 0
    assert re.search(rf"^text +{re.escape(text)}$", result.stdout, re.MULTILINE)
    zone_line = result.stdout.partition("\n\n")[0]
    assert "".join(re.findall(r'"([^"]*)"', zone_line)) == text
    assert max(map(len, re.findall(r'"([^"]*)"', zone_line))) == 255


def test_record_takes_a_key_from_anywhere(run: Run, tmp_path: Path) -> None:
    """A key that another tool made, before it is moved into the directory."""
    elsewhere = tmp_path / "default.private"
    write_key(elsewhere, pem(Algorithm.ED25519))

    result = run("record", "example.org", "s1", "--key", str(elsewhere), "--json")

    assert json.loads(result.stdout)["text"].startswith("v=DKIM1; k=ed25519; p=")


def test_record_of_a_key_that_cannot_be_used_is_78(run: Run, keys: Path) -> None:
    """Correct it first."""
    result = run("record", "example.org", "s1")

    assert result.exit_code == 78
    assert "s1.pem cannot be read" in result.stderr


# check


def test_check_finds_every_key_that_signs_published(
    run: Run, keys: Path, nameserver: Nameserver
) -> None:
    """Both kinds, two domains; no other setting is needed."""
    files = [
        put_key(keys, "example.org", "s1"),
        put_key(keys, "example.org", "s2", Algorithm.ED25519),
        put_key(keys, "other.example", "s1"),
    ]
    nameserver.records = {name: [text] for name, text in published(*files).items()}
    chosen = "example.org:s1,example.org:s2,other.example:s1"

    result = check(run, nameserver, MAIL_DKIM_SELECTORS=chosen)

    assert result.exit_code == 0, result.output
    assert re.findall(r"^ok +(\S+)  this (\w+) key is published$", result.stdout, re.MULTILINE) == [
        (NAME, "rsa"),
        ("s2._domainkey.example.org", "ed25519"),
        ("s1._domainkey.other.example", "rsa"),
    ]


def test_check_reads_a_record_that_is_too_long_for_udp(
    run: Run, keys: Path, nameserver: Nameserver
) -> None:
    """In seven strings, for somebody wrote a long note: asked again by TCP."""
    (text,) = published(put_key(keys, "example.org", "s1")).values()
    nameserver.records = {NAME: [f"{text}; n={'x' * 1200}"]}

    result = check(run, nameserver)

    assert result.exit_code == 0, result.output
    assert nameserver.asked == [("udp", NAME), ("tcp", NAME)]


WRONG: dict[str, tuple[Callable[[str], list[str]], str, str]] = {
    "not there": (lambda _: [], "not_found", "there is no TXT record"),
    "another key": (
        lambda text: [text[: text.index("p=")] + "p=" + "MIIB" * 4],
        "other_key",
        "another key is published there",
    ),
    "revoked": (lambda _: ["v=DKIM1; p="], "revoked", "the key is revoked"),
    "wrong kind": (
        lambda text: [text.replace("k=rsa", "k=ed25519")],
        "wrong_type",
        "it says k=ed25519, the key is rsa",
    ),
    "testing": (lambda text: [text + "; t=y"], "testing", "t=y: verifiers treat"),
    "syntax": (lambda text: [f'"{text}"'], "malformed", "quotes were published"),
    "several": (lambda text: [text, text + ";"], "several", "there are 2 TXT records"),
}


@pytest.mark.parametrize("case", WRONG)
def test_check_names_what_is_wrong_and_what_to_do(
    run: Run, keys: Path, nameserver: Nameserver, case: str
) -> None:
    """Exit code 1; the same by --json."""
    change, found, told = WRONG[case]
    (text,) = published(put_key(keys, "example.org", "s1")).values()
    nameserver.records = {NAME: change(text)}

    result = check(run, nameserver)
    as_json = json.loads(check(run, nameserver, "--json").stdout)

    assert result.exit_code == 1
    assert re.search(rf"^FAIL +{NAME}  .*{re.escape(told)}.*\n +-> \S", result.stdout, re.MULTILINE)
    (row,) = as_json["keys"]
    assert (as_json["ok"], row["ok"], row["found"], row["name"]) == (False, False, found, NAME)
    assert told in row["detail"]
    assert row["advice"]


@pytest.mark.parametrize("trouble", ["silent", "SERVFAIL", "REFUSED", "gone"])
def test_check_does_not_guess_when_nobody_answers(
    run: Run, keys: Path, nameserver: Nameserver, trouble: str
) -> None:
    """Unknown is not published, and not missing either."""
    put_key(keys, "example.org", "s1")
    nameserver.is_silent = trouble == "silent"
    if trouble in ("SERVFAIL", "REFUSED"):
        nameserver.rcode = dns.rcode.from_text(trouble)
    addr = "127.0.0.1:1" if trouble == "gone" else nameserver.addr

    result = run(
        *("check", "--json", "--nameserver", addr, "--timeout", "0.5"),
        MAIL_DKIM_SELECTORS="example.org:s1",
    )

    (row,) = json.loads(result.stdout)["keys"]
    assert result.exit_code == 1
    assert row["found"] == "unavailable"
    assert "--nameserver" in row["advice"]


def test_check_looks_at_a_key_before_it_signs(run: Run, keys: Path, nameserver: Nameserver) -> None:
    """The step between publishing and naming it in MAIL_DKIM_SELECTORS."""
    nameserver.records = {
        name: [text] for name, text in published(put_key(keys, "example.org", "s2")).items()
    }

    result = check(run, nameserver, "example.org", "--selector", "s2", MAIL_DKIM_SELECTORS="")

    assert result.exit_code == 0, result.output
    assert "it does not sign: MAIL_DKIM_SELECTORS does not name it" in result.stdout


def test_check_of_one_domain_asks_for_no_other(
    run: Run, keys: Path, nameserver: Nameserver
) -> None:
    """`dkim check DOMAIN`."""
    put_key(keys, "example.org", "s1")
    put_key(keys, "other.example", "s1")

    check(run, nameserver, "Example.org", MAIL_DKIM_SELECTORS="example.org:s1,other.example:s1")

    assert nameserver.asked == [("udp", NAME)]


def test_check_without_keys_is_78(run: Run, nameserver: Nameserver) -> None:
    """Nothing signs: that is no success."""
    for arguments, changes in (
        ((), {"MAIL_DKIM_SELECTORS": ""}),
        ((), {}),
        (("example.net",), {}),
        (("example.net", "--selector", "s1"), {}),
        ((), {"MAIL_DKIM_DIR": "/nowhere"}),
    ):
        result = check(run, nameserver, *arguments, **changes)

        assert result.exit_code == 78, result.output
        assert result.stderr.startswith("mailworkers: ")


def test_check_refuses_a_nameserver_that_is_no_address(run: Run, keys: Path) -> None:
    """Who would look its name up?"""
    put_key(keys, "example.org", "s1")
    for wrong in ("ns.example", "127.0.0.1:", "127.0.0.1:99999", "[::1", "[::1]"):
        result = run("check", "--nameserver", wrong, MAIL_DKIM_SELECTORS="example.org:s1")

        assert result.exit_code == 2, wrong
    assert run("check", "--selector", "s1").exit_code == 2


def test_check_prints_nothing_a_terminal_would_obey(
    run: Run, keys: Path, nameserver: Nameserver
) -> None:
    """Records are written by others."""
    put_key(keys, "example.org", "s1")
    nameserver.records = {NAME: ["v=DKIM1; \x1b[2J; p="]}

    assert "\x1b[2J" not in click.unstyle(check(run, nameserver).stdout)


# doctor


@pytest.fixture
def doctor(keys: Path, tmp_path: Path) -> Callable[..., list[dict[str, Any]]]:
    """Return what runs `doctor` and gives its findings about DKIM."""

    def call(**changes: str) -> list[dict[str, Any]]:
        environ = {
            "MAIL_REDIS_MASTER_ADDR": "127.0.0.1:1",
            "MAIL_POSTGRES_PRIMARY_DSN": "host=127.0.0.1 port=1 dbname=mail",
            "MAIL_SMTP_MODE": "stub",
            "MAIL_SMTP_FROM_EMAIL": "shop@mail.example.org",
            "MAIL_STATE_DIR": str(tmp_path / "state"),
            **changes,
        }
        result = CliRunner().invoke(main, ["doctor", "--json"], env=environ)
        findings = json.loads(result.stdout)["checks"]
        return [found for found in findings if found["check"] == "dkim"]

    return call


def test_doctor_says_for_whom_mail_is_signed(
    doctor: Callable[..., list[dict[str, Any]]], keys: Path
) -> None:
    """The identity is covered by its parent; an allowed domain without a key is named."""
    put_key(keys, "example.org", "s1")
    put_key(keys, "example.org", "s2", Algorithm.ED25519)

    (found,) = doctor(
        MAIL_DKIM_DIR=str(keys),
        MAIL_DKIM_SELECTORS="example.org:s1,example.org:s2",
        MAIL_SMTP_FROM_ALLOWED="mail.example.org,example.net",
    )

    assert found["ok"] is True
    assert found["detail"] == "signs for example.org (s1+s2); unsigned: example.net"


def test_doctor_finds_an_identity_that_nothing_signs_for(
    doctor: Callable[..., list[dict[str, Any]]], keys: Path
) -> None:
    """Signing for others only is a mistake."""
    put_key(keys, "example.net", "s1")

    (found,) = doctor(MAIL_DKIM_DIR=str(keys), MAIL_DKIM_SELECTORS="example.net:s1")

    assert found["ok"] is False
    assert "unsigned: mail.example.org" in found["detail"]
    assert "MAIL_DKIM_SELECTORS" in found["advice"]


def test_doctor_finds_keys_that_cannot_be_used_or_are_doubtful(
    doctor: Callable[..., list[dict[str, Any]]], keys: Path
) -> None:
    """A line each; off is well, for the relay may sign."""
    put_key(keys, "example.org", "s1", Algorithm.ED25519)
    place = {"MAIL_DKIM_DIR": str(keys)}

    missing = doctor(MAIL_DKIM_SELECTORS="example.org:s1,example.org:s2", **place)
    doubtful, _ = doctor(MAIL_DKIM_SELECTORS="example.org:s1", **place)
    (off,) = doctor()

    assert [(found["ok"], "s2.pem cannot be read" in found["detail"]) for found in missing] == [
        (False, True)
    ]
    assert (doubtful["ok"], off["ok"]) == (True, True)
    assert doubtful["detail"].startswith("doubtful: MAIL_DKIM_SELECTORS has no RSA key")
    assert off["detail"].startswith("off: ")
