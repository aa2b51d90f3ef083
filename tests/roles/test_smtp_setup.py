"""From connect to AUTH: TLS that cannot be stripped, secrets that stay so, faults with names."""

import socket
import ssl
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from mailworkers.adapters.settings import Settings
from mailworkers.adapters.smtp import Session, SmtpSettings
from mailworkers.adapters.smtp_settings import tls_context
from mailworkers.core.errors import RelayUnavailable
from mailworkers.core.states import Stage
from tests.eventually import eventually
from tests.relay import Certificates, Relay, Step, drip, hang, late, listen, raw, reset, then
from tests.sessions import no_answer_to_syn, opened, send, settings_for

PASSWORD = "hunter2-geheim"
LOGIN = {"username": "alice", "password": PASSWORD}


def fault_of(relay: Relay, **changes: Any) -> RelayUnavailable:
    """Return why no session with *relay* comes about."""
    with pytest.raises(RelayUnavailable) as caught:
        opened(relay, **changes)
    return caught.value


def test_a_session_learns_what_the_relay_offers(relay: Relay) -> None:
    relay.offers("PIPELINING", "SIZE 1234")
    session = opened(relay, helo="mail.example.com")

    assert session.capabilities.pipelining
    assert session.capabilities.size == 1234
    assert session.relay == relay.addr
    assert relay.commands[0] == ["EHLO mail.example.com"]
    session.close()


@pytest.mark.parametrize("said", ["500 5.5.1 what?", "502 not implemented"])
def test_a_relay_that_does_not_know_ehlo_is_greeted_with_helo(relay: Relay, said: str) -> None:
    """RFC 5321 section 2.2.1; such a relay offers nothing, and takes mail one command at a time."""
    relay.says(EHLO=said)
    session = opened(relay)

    assert send(session).dot_sent
    assert relay.commands[0][:2] == ["EHLO localhost", "HELO localhost"]
    assert relay.accepted[0].mail == "MAIL FROM:<sender@example.com>"
    session.close()


@pytest.mark.parametrize(
    "said", ["550 5.7.1 no", "501 5.5.4 bad name", "504 no", "554 no", "421 x"]
)
def test_a_relay_that_refuses_us_at_ehlo_is_not_asked_again(relay: Relay, said: str) -> None:
    """F-S05: it knows the word and does not want us; HELO would not change its mind."""
    relay.says(EHLO=said)

    fault = fault_of(relay)

    assert (fault.stage, fault.reply and fault.reply.code) == (Stage.EHLO, int(said[:3]))
    assert relay.commands == [["EHLO localhost"]]


def test_helo_is_no_way_around_tls_or_a_login(relay: Relay) -> None:
    """Whoever sits in between could answer 502 to EHLO."""
    relay.says(EHLO="502 no")
    relay.users = {"alice": PASSWORD}

    assert fault_of(relay, tls="starttls").stage is Stage.STARTTLS
    assert fault_of(relay, tls="opportunistic", **LOGIN).stage is Stage.AUTH
    assert not any("AUTH" in line or "MAIL" in line for talk in relay.commands for line in talk)


def test_a_refused_helo_is_a_fault_of_ehlo(relay: Relay) -> None:
    relay.says(EHLO="502 no", HELO="550 5.7.1 go away")

    fault = fault_of(relay)

    assert (fault.stage, fault.reply and fault.reply.code) == (Stage.EHLO, 550)


# Connecting


def test_a_relay_that_is_not_there_is_a_fault_of_connect(relay: Relay) -> None:
    relay.stop()
    fault = fault_of(relay)

    assert (fault.stage, fault.reply, fault.timed_out) == (Stage.CONNECT, None, False)
    assert "refused" in fault.reason


def test_a_name_is_tried_at_each_of_its_addresses(relay: Relay) -> None:
    """localhost may be ::1 first, where nobody listens."""
    session = opened(relay, host="localhost")

    assert send(session).dot_sent
    session.close()


@pytest.mark.parametrize("host", ["nowhere.invalid", "a..b", "x" * 64 + ".test"])
def test_a_name_without_address_is_a_fault_of_connect(relay: Relay, host: str) -> None:
    fault = fault_of(relay, host=host, timeout=timedelta(seconds=1))

    assert fault.stage is Stage.CONNECT


Addresses = Callable[..., None]


@pytest.fixture
def resolves(monkeypatch: pytest.MonkeyPatch, relay: Relay) -> Addresses:
    """Make every name resolve to `(family, host)` pairs, at the port of `relay`."""

    def answer(*found: tuple[int, str]) -> None:
        addresses = [
            (family, socket.SOCK_STREAM, 6, "", (host, relay.port) + (0, 0) * (":" in host))
            for family, host in found
        ]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: addresses)

    return answer


@pytest.mark.parametrize(
    "first",
    [
        pytest.param((socket.AF_INET6, "fe80::1"), id="IPv6 that goes nowhere"),
        pytest.param((socket.AF_DECnet, "127.0.0.1"), id="a family the kernel does not have"),
        pytest.param((socket.AF_INET, "127.0.0.3"), id="an address that refuses"),
    ],
)
def test_an_address_that_cannot_be_had_is_followed_by_the_next(
    relay: Relay, resolves: Addresses, first: tuple[int, str]
) -> None:
    """F-S21: no IPv6 here, or none that works, is no reason not to deliver over IPv4."""
    resolves(first, (socket.AF_INET, "127.0.0.1"))
    session = opened(relay, host="relay.test")

    assert send(session).dot_sent
    session.close()


def test_an_address_that_swallows_everything_gets_only_its_share_of_the_time(
    relay: Relay, resolves: Addresses
) -> None:
    """F-S21: the others are tried within the same deadline."""
    resolves((socket.AF_INET, "127.0.0.2"), (socket.AF_INET, "127.0.0.1"))
    with no_answer_to_syn(relay.port, "127.0.0.2"):
        session = opened(relay, host="relay.test", timeout=timedelta(seconds=2))

    assert any("connected to 127.0.0.1" in line for line in session.transcript)
    session.close()


def test_of_fifty_addresses_a_few_are_tried(relay: Relay, resolves: Addresses) -> None:
    """F-S21: the next try begins at the front again, or where the resolver turned the list to."""
    resolves(*[(socket.AF_INET, f"127.0.1.{number}") for number in range(1, 51)])
    session = Session(settings_for(relay, host="relay.test"))

    with pytest.raises(RelayUnavailable) as caught:
        session.open()

    assert caught.value.stage is Stage.CONNECT
    assert 1 < len([line for line in session.transcript if "127.0.1." in line]) < 10


def test_a_resolver_that_hangs_holds_us_no_longer_than_the_timeout(
    relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F-S21: getaddrinfo knows no deadline, ours holds all the same, and ticks go on."""
    released = threading.Event()

    def hang(*_: object, **__: object) -> None:
        released.wait(30)
        raise socket.gaierror(socket.EAI_AGAIN, "too late")

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    session = Session(settings_for(relay, host="relay.test", timeout=timedelta(seconds=0.7)))
    ticks: list[float] = []
    began = time.monotonic()

    with pytest.raises(RelayUnavailable) as caught:
        session.open(lambda: ticks.append(time.monotonic()))

    took = time.monotonic() - began
    released.set()
    assert (caught.value.stage, caught.value.timed_out) == (Stage.CONNECT, True)
    assert "resolver" in caught.value.reason
    assert took < 1.7
    assert len(ticks) >= 2


def test_a_host_without_threads_to_spare_is_a_fault_of_connect(
    relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F-S23: as a host without descriptors; the sender lives."""

    def no_more(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", no_more)
    session = Session(settings_for(relay, host="relay.test"))

    with pytest.raises(RelayUnavailable, match="can't start new thread") as caught:
        session.open()

    assert caught.value.stage is Stage.CONNECT


@pytest.mark.parametrize("code", [socket.EAI_NONAME, socket.EAI_AGAIN, socket.EAI_FAIL])
def test_a_resolver_that_fails_is_a_fault_of_connect_with_its_reason(
    relay: Relay, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    """F-S21: NXDOMAIN, SERVFAIL, a loop of CNAMEs: all come out of getaddrinfo as an error."""

    def fail(*_: object, **__: object) -> None:
        raise socket.gaierror(code, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", fail)

    fault = fault_of(relay, host="relay.test")

    assert (fault.stage, fault.reason) == (Stage.CONNECT, "Name or service not known")


def test_our_own_name_is_asked_of_nobody(
    relay: Relay, monkeypatch: pytest.MonkeyPatch, make_settings: Callable[..., Settings]
) -> None:
    """F-S22: smtplib would ask a resolver; ours is a setting, or what the host is called."""

    def forbidden(*_: object) -> str:
        raise AssertionError("a resolver was asked")

    for name in ("getfqdn", "gethostbyname", "gethostbyname_ex", "gethostbyaddr", "getnameinfo"):
        monkeypatch.setattr(socket, name, forbidden)
    monkeypatch.setattr(socket, "gethostname", lambda: "mail")

    settings = make_settings(MAIL_SMTP_ADDR=relay.addr, MAIL_SMTP_HELO="").smtp_settings()
    session = Session(settings)
    session.open()
    session.close()

    assert relay.commands[0][0] == "EHLO [127.0.0.1]"


def test_a_full_backlog_does_not_hold_us_longer_than_the_timeout() -> None:
    """Nothing answers the SYN: the deadline covers connecting too."""
    with no_answer_to_syn() as port:
        settings = SmtpSettings("127.0.0.1", port, tls="none", timeout=timedelta(seconds=0.4))
        began = time.monotonic()
        ticks: list[float] = []
        with pytest.raises(RelayUnavailable) as caught:
            Session(settings).open(lambda: ticks.append(time.monotonic()))

    assert caught.value.stage is Stage.CONNECT
    assert caught.value.timed_out
    assert time.monotonic() - began < 1.4
    assert ticks


def test_ticks_go_on_while_the_banner_is_waited_for(relay: Relay) -> None:
    relay.says(late(0.7, "220 hi"))
    ticks: list[float] = []
    session = Session(settings_for(relay))

    session.open(lambda: ticks.append(time.monotonic()))

    assert len(ticks) >= 2
    session.close()


def test_the_whole_set_up_shares_one_deadline(relay: Relay) -> None:
    relay.users = {"alice": PASSWORD}
    relay.says(late(0.2, "220 hi"), EHLO=late(0.2, "250 relay.test\nAUTH LOGIN"), AUTH_STEP=hang)
    began = time.monotonic()

    fault = fault_of(relay, timeout=timedelta(seconds=0.6), **LOGIN)

    assert fault.timed_out
    assert time.monotonic() - began < 1


def test_a_failed_set_up_closes_its_connection(relay: Relay) -> None:
    relay.says(EHLO="550 5.7.1 no")
    for _ in range(3):
        fault_of(relay)

    eventually(lambda: all(not thread.is_alive() for thread in relay._threads[1:]))


# TLS


@pytest.fixture
def implicit_relay(certificates: Certificates) -> Iterator[Relay]:
    """A relay that speaks TLS from the first byte."""
    with Relay(certificates, implicit=True) as server:
        yield server


def test_starttls_encrypts_and_asks_again_what_is_offered(
    tls_relay: Relay, certificates: Certificates
) -> None:
    tls_relay.users = {"alice": PASSWORD}
    session = opened(tls_relay, tls="starttls", host="localhost", ca_file=certificates.ca, **LOGIN)

    assert send(session).dot_sent
    assert send(session).dot_sent
    verbs = [line.split()[0] for line in tls_relay.commands[0]]
    assert verbs[:4] == ["EHLO", "STARTTLS", "EHLO", "AUTH"]
    assert not session.capabilities.starttls
    assert any("TLSv1.3" in line for line in session.transcript)
    session.close()


def test_what_was_offered_before_tls_is_forgotten(
    tls_relay: Relay, certificates: Certificates
) -> None:
    """RFC 3207 section 4.2; whoever sits in between could have offered it."""
    tls_relay.says(EHLO=["250 AUTH PLAIN\nSTARTTLS\nPIPELINING", raw(b"250 relay.test\r\n")])

    fault = fault_of(tls_relay, tls="starttls", ca_file=certificates.ca, **LOGIN)

    assert fault.stage is Stage.AUTH
    assert "offered: none" in fault.reason


def test_a_certificate_for_the_address_is_as_good_as_one_for_the_name(
    tls_relay: Relay, certificates: Certificates
) -> None:
    opened(tls_relay, tls="starttls", ca_file=certificates.ca).close()


def test_implicit_tls_encrypts_from_the_first_byte(
    implicit_relay: Relay, certificates: Certificates
) -> None:
    session = opened(implicit_relay, tls="implicit", ca_file=certificates.ca)

    assert send(session).dot_sent
    session.close()


@pytest.mark.parametrize("mode", ["starttls", "implicit"])
@pytest.mark.parametrize(
    ("identity", "reason"), [("elsewhere", "mismatch"), ("expired", "expired")]
)
def test_a_wrong_certificate_is_a_fault_of_starttls(
    certificates: Certificates, mode: str, identity: str, reason: str
) -> None:
    """X-05, F-S20."""
    with Relay(certificates, implicit=mode == "implicit") as relay:
        relay.identity = identity
        fault = fault_of(relay, tls=mode, host="localhost", ca_file=certificates.ca)

    assert fault.stage is Stage.STARTTLS
    assert reason in fault.reason
    assert all(not line.startswith("MAIL") for line in relay.commands[0])


def test_a_relay_that_knows_only_an_old_tls_gets_no_mail(
    tls_relay: Relay, certificates: Certificates
) -> None:
    """F-S20: its ServerHello says TLS 1.0; 1.2 is the least."""
    hello = b"\x03\x01" + bytes(32) + b"\x00" + b"\xc0\x13" + b"\x00"
    handshake = b"\x02" + len(hello).to_bytes(3, "big") + hello
    record = b"\x16\x03\x01" + len(handshake).to_bytes(2, "big") + handshake
    tls_relay.says(TLS=then(listen, raw(record)))

    fault = fault_of(tls_relay, tls="starttls", ca_file=certificates.ca)

    assert fault.stage is Stage.STARTTLS
    assert "PROTOCOL" in fault.reason


@pytest.mark.parametrize("mode", ["starttls", "implicit"])
def test_a_certificate_of_an_unknown_authority_is_refused_by_default(
    certificates: Certificates, mode: str
) -> None:
    with Relay(certificates, implicit=mode == "implicit") as relay:
        fault = fault_of(relay, tls=mode, host="localhost")

    assert "certificate" in fault.reason


def test_starttls_that_is_not_offered_is_never_plaintext(relay: Relay) -> None:
    """F-S06."""
    relay.users = {"alice": PASSWORD}
    fault = fault_of(relay, tls="starttls", **LOGIN)

    assert fault.stage is Stage.STARTTLS
    assert relay.commands == [["EHLO localhost"]]


@pytest.mark.parametrize("said", ["454 4.7.0 not now", "501 no", "554 no", "421 bye"])
def test_starttls_that_is_refused_is_never_plaintext(tls_relay: Relay, said: str) -> None:
    tls_relay.says(STARTTLS=said)

    fault = fault_of(tls_relay, tls="starttls")

    assert fault.stage is Stage.STARTTLS
    assert fault.reply is not None
    assert fault.reply.code == int(said[:3])
    assert tls_relay.commands == [["EHLO localhost", "STARTTLS"]]


@pytest.mark.parametrize(
    "injected",
    [
        b"220 go\r\n250-relay.test\r\n250 AUTH PLAIN\r\n",
        b"220 go\r\n454 x\r\n",
        b"220 go\r\n2",
        b"220 go\r\n\r\n",
    ],
)
@pytest.mark.parametrize("mode", ["starttls", "opportunistic"])
def test_plaintext_after_the_starttls_reply_ends_the_session(
    tls_relay: Relay, certificates: Certificates, injected: bytes, mode: str
) -> None:
    """X-06: what came before the handshake must not count as said under TLS."""
    tls_relay.says(STARTTLS=raw(injected))

    fault = fault_of(tls_relay, tls=mode, ca_file=certificates.ca)

    assert fault.stage is Stage.STARTTLS
    assert tls_relay.commands[0] == ["EHLO localhost", "STARTTLS"]


@pytest.mark.parametrize(
    "step", [raw(b"250 not TLS at all\r\n"), reset, hang, drip("250 " + "x" * 200, every=0.05)]
)
def test_a_handshake_that_does_not_come_about_is_a_fault_of_starttls(
    tls_relay: Relay, certificates: Certificates, step: Step
) -> None:
    tls_relay.says(TLS=step)
    began = time.monotonic()

    fault = fault_of(
        tls_relay, tls="starttls", ca_file=certificates.ca, timeout=timedelta(seconds=0.4)
    )

    assert fault.stage is Stage.STARTTLS
    assert time.monotonic() - began < 1.2


def test_a_ca_file_that_cannot_be_read_is_named_and_read_again_when_put_right(
    tls_relay: Relay, certificates: Certificates, tmp_path: Path
) -> None:
    ca_file = tmp_path / "ca.pem"
    session = Session(settings_for(tls_relay, tls="starttls", ca_file=ca_file))
    with pytest.raises(RelayUnavailable, match=r"ca\.pem"):
        session.open()
    ca_file.write_text("not a certificate")
    with pytest.raises(RelayUnavailable, match=r"ca\.pem"):
        session.open()
    ca_file.write_bytes(certificates.ca.read_bytes())

    session.open()

    assert send(session).dot_sent
    session.close()


def test_opportunistic_encrypts_without_asking_for_a_name(tls_relay: Relay) -> None:
    tls_relay.identity = "elsewhere"
    session = opened(tls_relay, tls="opportunistic")

    assert send(session).dot_sent
    assert "STARTTLS" in tls_relay.commands[0]
    session.close()


@pytest.mark.parametrize("said", [None, "454 4.7.0 not now"])
def test_opportunistic_goes_on_in_plaintext_when_there_is_no_tls(
    certificates: Certificates, said: str | None
) -> None:
    with Relay(certificates if said else None) as relay:
        if said:
            relay.says(STARTTLS=said)
        session = opened(relay, tls="opportunistic")

        assert send(session).dot_sent
        session.close()


def test_opportunistic_with_a_password_verifies_and_never_shows_it(
    tls_relay: Relay, relay: Relay
) -> None:
    """X-07: whoever strips STARTTLS or holds any certificate would get the password."""
    for server in (tls_relay, relay):
        server.users = {"alice": PASSWORD}

    stripped = fault_of(relay, tls="opportunistic", **LOGIN)
    unverified = fault_of(tls_relay, tls="opportunistic", **LOGIN)

    assert stripped.stage is Stage.AUTH
    assert unverified.stage is Stage.STARTTLS
    assert not any(line.startswith("AUTH") for line in relay.commands[0] + tls_relay.commands[0])


def test_tls_is_1_2_or_newer(certificates: Certificates) -> None:
    for mode in ("starttls", "implicit", "opportunistic"):
        context = tls_context(SmtpSettings("relay.test", 25, tls=mode, ca_file=certificates.ca))

        assert context.minimum_version >= ssl.TLSVersion.TLSv1_2
        assert context.verify_mode is ssl.CERT_REQUIRED
        assert context.check_hostname


# AUTH


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN", "CRAM-MD5"])
@pytest.mark.parametrize("encrypted", [True, False])
def test_each_of_our_mechanisms_logs_in(
    certificates: Certificates, mechanism: str, encrypted: bool
) -> None:
    with Relay(certificates if encrypted else None) as relay:
        relay.users = {"älice": PASSWORD + "ß"}
        relay.says(EHLO=f"250 AUTH X-OAUTH {mechanism}" + ("\nSTARTTLS" if encrypted else ""))
        session = opened(
            relay,
            tls="starttls" if encrypted else "none",
            ca_file=certificates.ca,
            username="älice",
            password=PASSWORD + "ß",
        )

        assert send(session).dot_sent
        assert f"AUTH {mechanism}" in " ".join(relay.commands[0])
        session.close()


def test_a_password_too_long_for_the_command_line_waits_to_be_asked(relay: Relay) -> None:
    """RFC 4954 section 4."""
    relay.users = {"alice": "p" * 600}
    relay.says(EHLO="250 AUTH PLAIN")
    session = opened(relay, username="alice", password="p" * 600)

    assert relay.commands[0][1] == "AUTH PLAIN"
    session.close()


def test_in_plaintext_the_mechanism_that_hides_the_password_comes_first(relay: Relay) -> None:
    relay.users = {"alice": PASSWORD}
    opened(relay, **LOGIN).close()

    assert relay.commands[0][1] == "AUTH CRAM-MD5"


@pytest.mark.parametrize("offer", ["SIZE 1", "AUTH XOAUTH2 NTLM", "AUTH"])
def test_no_mechanism_of_ours_is_a_fault_of_auth(relay: Relay, offer: str) -> None:
    relay.says(EHLO=f"250 {offer}")

    fault = fault_of(relay, **LOGIN)

    assert fault.stage is Stage.AUTH
    assert "PLAIN" in fault.reason


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN", "CRAM-MD5"])
def test_a_wrong_password_is_a_fault_of_auth_with_the_relays_reply(
    relay: Relay, mechanism: str
) -> None:
    """F-S07."""
    relay.users = {"alice": "another"}
    relay.says(EHLO=f"250 AUTH {mechanism}")

    fault = fault_of(relay, **LOGIN)

    assert fault.stage is Stage.AUTH
    assert fault.reply is not None
    assert (fault.reply.code, fault.reply.enhanced) == (535, "5.7.8")


def test_a_challenge_that_is_no_base64_is_a_fault_of_auth(relay: Relay) -> None:
    relay.users = {"alice": PASSWORD}
    relay.says(EHLO="250 AUTH CRAM-MD5", AUTH_STEP="334 ***")

    assert fault_of(relay, **LOGIN).stage is Stage.AUTH


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN", "CRAM-MD5"])
@pytest.mark.parametrize("good", [True, False])
def test_the_password_is_in_no_text_we_make_even_if_the_relay_repeats_it(
    relay: Relay, mechanism: str, good: bool
) -> None:
    """X-31, B-31: transcript, exception, its traceback, and the settings' repr."""
    relay.users = {"alice": PASSWORD if good else "another"}
    relay.says(EHLO=f"250 AUTH {mechanism}", MAIL=f"250 {PASSWORD}")
    settings = settings_for(relay, **LOGIN)
    session = Session(settings)
    shown = [repr(settings), str(settings)]
    try:
        session.open()
        send(session)
    except RelayUnavailable as fault:
        shown += [str(fault), repr(fault.reply), "".join(traceback.format_exception(fault))]
    shown += session.transcript
    session.close()

    said = {line.split()[-1] for line in relay.commands[0] if not line.startswith(("EHLO", "MAIL"))}
    for text in shown:
        assert PASSWORD not in text
        for secret in said - {mechanism, "DATA", "RCPT", "TO:<a@example.com>"}:
            assert secret not in text


@pytest.mark.parametrize(
    "said", [f"535 5.7.8 {PASSWORD} is wrong", f"235-{PASSWORD}\nx", f"999 {PASSWORD}"]
)
def test_a_relay_that_repeats_the_password_does_not_make_us_tell_it(
    relay: Relay, said: str
) -> None:
    relay.says(EHLO="250 AUTH PLAIN", AUTH=raw(said.encode() + b"\r\n"))

    fault = fault_of(relay, timeout=timedelta(seconds=0.3), **LOGIN)

    assert fault.stage is Stage.AUTH
    assert PASSWORD not in "".join(traceback.format_exception(fault))
    assert PASSWORD not in repr(fault.reply)


@pytest.mark.parametrize("at", ["MAIL", "RCPT", "DATA", "DOT"])
@pytest.mark.parametrize("said", ["550 5.1.1 {}", "250 ok {}", "999 {}"])
def test_a_relay_that_repeats_the_password_later_does_not_make_us_keep_it(
    relay: Relay, at: str, said: str
) -> None:
    """X-31: what a transaction returns goes into the journal, the database and the logs."""
    relay.users = {"alice": PASSWORD}
    relay.says(**{at: raw(said.format(PASSWORD).encode() + b"\r\n")})
    session = opened(relay, **LOGIN)

    assert PASSWORD not in repr(send(session))
    session.close()


# The settings themselves


def test_an_ipv6_relay_is_shown_in_brackets() -> None:
    assert SmtpSettings("::1", 25).relay == "[::1]:25"
    assert SmtpSettings("relay.test", 25).relay == "relay.test:25"


def test_a_transaction_has_a_budget_that_grows_with_its_size() -> None:
    settings = SmtpSettings("relay.test", 25)

    assert settings.budget(0) == timedelta(seconds=15 + 15 + 60)
    assert settings.budget(64 * 1024 * 100) == timedelta(seconds=15 + 15 + 100 + 60)


def test_what_cannot_be_said_in_ehlo_is_a_fault_and_not_a_smuggled_command(relay: Relay) -> None:
    fault = fault_of(relay, helo="x\r\nMAIL FROM:<a@b>")

    assert fault.stage is Stage.EHLO
    assert relay.commands == [[]]
