"""The mailbox: keeps every mail it said 250 to, shows it without letting it do anything."""

import json
import smtplib
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from email.message import EmailMessage
from http.client import HTTPMessage
from pathlib import Path
from typing import Any

import pytest

from mailworkers.embedded.loopback import fetch, fetch_json, is_fine
from mailworkers.embedded.mailbox_store import MailboxStore
from mailworkers.embedded.ports import free_port
from tests.eventually import eventually


class RunningMailbox:
    """A mailbox in a process of its own."""

    def __init__(self, store: Path) -> None:
        self._store = store
        self.smtp_port, self._http_port = free_port(), free_port()
        self.url = f"http://127.0.0.1:{self._http_port}"
        self.start()

    def start(self) -> None:
        """Start the process and wait until it answers."""
        command = [sys.executable, "-m", "mailworkers.embedded.mailbox"]
        command += ["--store", str(self._store), "--smtp-port", str(self.smtp_port)]
        self._process = subprocess.Popen([*command, "--http-port", str(self._http_port)])
        eventually(lambda: is_fine(f"{self.url}/messages.json"))

    def stop(self) -> int:
        """Stop the process; return its exit code."""
        self._process.terminate()
        return self._process.wait(10)

    def receive(self, message: EmailMessage) -> None:
        """Send *message* to it."""
        with smtplib.SMTP("127.0.0.1", self.smtp_port) as client:
            client.send_message(message)

    def list(self, **asked: Any) -> Any:
        """Return the list as JSON."""
        return fetch_json(f"{self.url}/messages.json?{urllib.parse.urlencode(asked)}")

    def post(self, path: str, form: str, **headers: str) -> None:
        """Send a form."""
        self._request(path, form.encode(), headers)

    def open(self, path: str, **headers: str) -> tuple[HTTPMessage, str]:
        """Return headers and text of a page."""
        return self._request(path, None, headers)

    def _request(
        self, path: str, body: bytes | None, headers: dict[str, str]
    ) -> tuple[HTTPMessage, str]:
        request = urllib.request.Request(f"{self.url}{path}", body, headers)  # noqa: S310
        with urllib.request.urlopen(request) as answer:  # noqa: S310
            return answer.headers, answer.read().decode()


@pytest.fixture
def mailbox(tmp_path: Path) -> Iterator[RunningMailbox]:
    """Return a running empty mailbox."""
    running = RunningMailbox(tmp_path)
    yield running
    running.stop()


def _mail(subject: str = "Grüße", message_id: str = "<1@a.example>") -> EmailMessage:
    message = EmailMessage()
    message["From"] = "Ada <ada@a.example>"
    message["To"] = "Jürgen <juergen@b.example>"
    message["Subject"] = subject
    message["Message-ID"] = message_id
    message.set_content("A line\n.a dot\n")
    return message


def test_an_accepted_mail_is_on_the_page_with_its_envelope(mailbox: RunningMailbox) -> None:
    mailbox.receive(_mail())

    (entry,) = mailbox.list()["entries"]
    assert entry["subject"] == "Grüße"
    assert entry["rcpt_to"] == ["juergen@b.example"]
    assert entry["mail_from"] == "ada@a.example"
    assert "Grüße" in mailbox.open("/")[1]
    assert ".a dot" in mailbox.open("/messages/1")[1]


def test_the_raw_mail_is_what_came_over_the_wire(mailbox: RunningMailbox) -> None:
    wire = b"From: a@a.example\r\nSubject: \xff raw\r\n\r\n..two dots\r\n\x80\r\n"
    with smtplib.SMTP("127.0.0.1", mailbox.smtp_port) as client:
        client.sendmail("a@a.example", ["b@b.example"], wire)

    assert fetch(f"{mailbox.url}/messages/1/raw") == wire
    assert mailbox.open("/messages/1")[0]["Content-Type"] == "text/html; charset=utf-8"


def test_a_duplicate_message_id_is_counted_and_seen(mailbox: RunningMailbox) -> None:
    for subject in ("first", "again"):
        mailbox.receive(_mail(subject))
    mailbox.receive(_mail("another", "<2@a.example>"))

    found = mailbox.list(q="1@a.example")
    assert found["duplicates"] == 1
    assert found["copies"] == {"<1@a.example>": 2}
    assert "1 duplicate Message-ID" in mailbox.open("/")[1]
    assert "×2" in mailbox.open("/messages/1")[1]


def test_search_looks_at_addresses_and_decoded_headers(mailbox: RunningMailbox) -> None:
    mailbox.receive(_mail("Grüße aus Köln", "<1@a.example>"))
    mailbox.receive(_mail("Rechnung", "<2@a.example>"))

    assert [entry["number"] for entry in mailbox.list(q="köln JUERGEN@")["entries"]] == [1]
    assert mailbox.list(q="nothing like it")["found"] == 0


def test_html_is_framed_and_may_do_nothing(mailbox: RunningMailbox) -> None:
    message = _mail()
    message.add_alternative(
        '<script>alert(1)</script><img src="cid:dot"><img src="https://a.example/t.gif">', "html"
    )
    message.get_payload()[1].add_related(b"GIF89a", "image", "gif", cid="<dot>")  # type: ignore[index,union-attr]
    mailbox.receive(message)

    page_headers, page = mailbox.open("/messages/1")
    frame_headers, frame = mailbox.open("/messages/1/html")
    assert '<iframe sandbox src="/messages/1/html"' in page
    assert "<script>alert" not in page
    assert "script-src 'nonce-" in page_headers["Content-Security-Policy"]
    assert frame_headers["Content-Security-Policy"].startswith("default-src 'none'")
    assert frame_headers["Content-Security-Policy"].endswith("; sandbox")
    assert 'src="data:image/gif;base64,R0lGODlh"' in frame


def test_markup_in_headers_is_shown_and_not_obeyed(mailbox: RunningMailbox) -> None:
    mailbox.receive(_mail("<img src=x onerror=alert(1)>"))

    for path in ("/", "/messages/1", "/?q=%22%3E%3Cscript%3E"):
        assert "<img src=x" not in mailbox.open(path)[1]
        assert "<script>" not in mailbox.open(path)[1]


def test_an_attachment_is_downloaded_never_opened(mailbox: RunningMailbox) -> None:
    message = _mail()
    message.add_attachment(b"<script>", "text", "html", filename="böse.html")
    mailbox.receive(message)

    headers, content = mailbox.open("/messages/1/parts/1")
    assert content == "<script>"
    assert headers["Content-Type"] == "application/octet-stream"
    assert headers["Content-Disposition"] == "attachment; filename*=UTF-8''b%C3%B6se.html"


def test_it_defers_and_rejects_when_told_to(mailbox: RunningMailbox) -> None:
    for answer, code in (("defer", 451), ("reject", 550)):
        mailbox.post("/answer", f"answer={answer}")
        with pytest.raises(smtplib.SMTPRecipientsRefused) as refused:
            mailbox.receive(_mail())
        assert refused.value.recipients["juergen@b.example"][0] == code

    mailbox.post("/answer", "answer=accept")
    mailbox.receive(_mail())

    assert mailbox.list()["stored"] == 1


def test_mail_stays_over_a_restart_but_for_a_torn_record(
    mailbox: RunningMailbox, tmp_path: Path
) -> None:
    mailbox.receive(_mail("whole", "<1@a.example>"))
    mailbox.receive(_mail("torn", "<2@a.example>"))
    assert mailbox.stop() == 0
    log = tmp_path / "messages.log"
    log.write_bytes(log.read_bytes()[:-30])

    mailbox.start()
    mailbox.receive(_mail("new", "<3@a.example>"))

    assert [entry["subject"] for entry in mailbox.list()["entries"]] == ["new", "whole"]
    mailbox.stop()
    mailbox.start()
    assert mailbox.list()["stored"] == 2


def test_emptied_it_forgets_every_mail(mailbox: RunningMailbox) -> None:
    mailbox.receive(_mail())

    mailbox.post("/empty", "")
    mailbox.receive(_mail("after"))

    assert [entry["subject"] for entry in mailbox.list()["entries"]] == ["after"]


def test_other_sites_can_neither_read_nor_empty_it(mailbox: RunningMailbox) -> None:
    """A foreign Host is DNS rebinding; a form on another site says where it comes from."""
    mailbox.receive(_mail())

    with pytest.raises(urllib.error.HTTPError, match="403") as read:
        mailbox.open("/", Host="rebound.example:8025")
    with pytest.raises(urllib.error.HTTPError, match="403") as emptied:
        mailbox.post("/empty", "", **{"Sec-Fetch-Site": "cross-site"})
    read.value.close()
    emptied.value.close()
    assert mailbox.list()["stored"] == 1


def test_what_does_not_exist_is_404_and_nonsense_400(mailbox: RunningMailbox) -> None:
    for path, code in (("/messages/9", 404), ("/nothing", 404), ("/messages/x", 400)):
        with pytest.raises(urllib.error.HTTPError) as refused:
            mailbox.open(path)
        assert refused.value.code == code
        refused.value.close()


def test_no_bytes_whatsoever_break_the_store(tmp_path: Path) -> None:
    store = MailboxStore(tmp_path)
    hostile = [
        b"",
        b"\n",
        b"\x00" * 100,
        b"Subject: =?x?q?=FF?=\r\n\r\n",
        b"Subject: \xff\xfe\r\n\r\n",
    ]
    hostile += [b"Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\n" * 50]
    for raw in hostile:
        store.add("a\udcff@a.example", ["b@b.example"], raw)

    numbers = [entry.number for entry in store.page([], 100).entries]
    store.close()
    again = MailboxStore(tmp_path)
    assert [again.raw(number) for number in reversed(numbers)] == hostile
    assert json.dumps(again.page([], 100).found) == str(len(hostile))
    again.close()
