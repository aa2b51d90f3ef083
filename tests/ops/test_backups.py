"""Backups: which are whole, how many stay; and what of the waiting mail was seen leaving."""

import gzip
import hashlib
from pathlib import Path

from tests.ops.parts import parts

ADA, BOB, EVE = (f"01a202a4-6a75-7aca-ba29-50a3b8a138a{digit}" for digit in "123")


def _backup(host: Path, name: str) -> Path:
    place = host / "var/backups/mailworkers" / name
    place.mkdir(parents=True)
    (place / "manifest").write_text("deliveries=7\nversion=1.0\n")
    (place / "database.dump").write_text("no dump at all")
    sums = (
        f"{hashlib.sha256((place / file).read_bytes()).hexdigest()}  {file}\n"
        for file in ("manifest", "database.dump")
    )
    (place / "SHA256SUMS").write_text("".join(sums))
    return place


def test_the_newest_backups_stay(host: Path) -> None:
    """One that was interrupted counts as none, and is not counted."""
    for day in range(1, 6):
        _backup(host, f"2027010{day}T023000Z")
    _backup(host, "20270106T023000Z.unfinished")

    parts(host, "remove_old_backups 2")

    left = sorted(path.name for path in (host / "var/backups/mailworkers").iterdir())
    assert left == ["20270104T023000Z", "20270105T023000Z", "20270106T023000Z.unfinished"]


def test_latest_is_the_newest_whole_one(host: Path) -> None:
    """A restore must not be given half a backup."""
    _backup(host, "20270101T023000Z")
    _backup(host, "20270102T023000Z.unfinished")

    found = parts(host, "find_backup latest").stdout.strip()

    assert Path(found).name == "20270101T023000Z"


def test_a_damaged_backup_is_found_out(host: Path) -> None:
    """By its checksums, before anything is touched."""
    place = _backup(host, "20270101T023000Z")
    (place / "database.dump").write_text("no dump at all!")

    found = parts(host, f"verify {place}")

    assert found.returncode == 1
    assert "is damaged" in found.stderr


def test_a_file_that_is_no_dump_is_found_out(host: Path) -> None:
    """Checksums tell what changed, not whether it ever was a backup."""
    place = _backup(host, "20270101T023000Z")

    found = parts(host, f"verify {place}")

    assert found.returncode == 1
    assert "cannot be read" in found.stderr


def test_logs_old_and_new_tell_what_left(host: Path) -> None:
    """Those of every sender, turned over and compressed ones too; other events do not count."""
    logs = host / "var/log/mailworkers"
    sent = '{{"event":"mail delivery sent","delivery_id":"{}"}}\n'
    (logs / "sender-01.log").write_text(sent.format(ADA))
    with gzip.open(logs / "sender-02.log.1.gz", "wt") as file:
        file.write(sent.format(BOB))
    (logs / "api.log").write_text(sent.format(EVE))
    with (logs / "sender-01.log").open("a") as file:
        file.write(f'{{"event":"mail delivery retry scheduled","delivery_id":"{EVE}"}}\n')

    seen = parts(host, "seen_leaving").stdout.split()

    assert seen == [ADA, BOB]


def test_a_host_without_logs_has_seen_nothing_leave(host: Path) -> None:
    """A new one, which takes the place of a lost one."""
    seen = parts(host, "seen_leaving")

    assert (seen.returncode, seen.stdout) == (0, ""), seen.stderr


def test_the_relays_log_tells_by_message_id(host: Path) -> None:
    """Ours begin with the delivery's id; relays write them in either case."""
    log = host / "mail.log"
    log.write_text(f"postfix/cleanup: 4XYZ: message-id=<{EVE.upper()}@example.com>\n{ADA}\n")

    seen = parts(host, f"RELAY_LOGS=({log}); seen_leaving").stdout.split()

    assert seen == [EVE]
