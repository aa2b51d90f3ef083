"""Pictures of the console for its tour: `python -m tests.console.pictures FOLDER`.

Starts servers of its own, fills them with a story, and writes each page as PNG, wide and narrow,
light and dark. Needs Chromium and the packages of the extra `test`.
"""

import shutil
import sys
import tempfile
from pathlib import Path
from uuid import UUID

from playwright.sync_api import Browser

from mailworkers.adapters import db
from mailworkers.embedded.binaries import Source
from mailworkers.embedded.servers import Servers, start_servers
from tests.console.browsing import Scheme, Visitor, chromium
from tests.console.conftest import visitor_of
from tests.console.scenes import tell_the_story
from tests.eventually import eventually
from tests.web.conftest import RunningApi, make_settings


def paths(found: dict[str, UUID]) -> dict[str, str]:
    """Return the pages worth a picture, by name."""
    return {
        "overview": "/",
        "deliveries": "/deliveries",
        "late": f"/deliveries/{found['late']}",
        "delivery": f"/deliveries/{found['shown']}",
        "dead-letters": "/dead-letters",
        "malformed": "/malformed",
        "templates": "/templates",
        "template": "/templates/receipt",
        "suppressions": "/suppressions",
        "pauses": "/pauses",
        "roles": "/roles",
        "audit": "/audit",
        "not-here": "/deliveries/01900000-0000-7000-8000-000000000001",
    }


def take(
    conn: db.Connection, browser: Browser, url: str, pages: dict[str, str], folder: Path
) -> None:
    """Write every page in four looks, in all of which the roles are alive."""
    looks: list[tuple[str, bool, Scheme]] = [
        ("wide-light", False, "light"),
        ("wide-dark", False, "dark"),
        ("narrow-light", True, "light"),
        ("narrow-dark", True, "dark"),
    ]
    for look, is_narrow, scheme in looks:
        window = Visitor(browser, url, is_narrow=is_narrow, scheme=scheme)
        for name, path in pages.items():
            conn.execute("UPDATE processes SET beat_at = clock_timestamp()")
            window.see(path)
            window.page.wait_for_load_state("load")
            settle(window)
            window.picture(folder / f"{name}-{look}.png")
        window.close()


def settle(window: Visitor) -> None:
    """Wait until what the page asks for by itself has come: the message of a delivery."""
    if window.page.locator(".content-place").count():
        window.page.locator("#content, .content-place iframe").first.wait_for()
        window.page.wait_for_load_state("networkidle")


def main(folder: Path) -> None:
    """Write the pictures into *folder*."""
    folder.mkdir(parents=True, exist_ok=True)
    home = Path(tempfile.mkdtemp(prefix="mail-pictures-"))
    home.chmod(0o711)
    try:
        with start_servers(home, source=Source.AUTO, durable=False) as servers:
            db.migrate(servers.postgres_dsn)
            with db.connect(servers.postgres_dsn) as conn:
                found = tell_the_story(conn)
                write(conn, servers, home, found, folder)
    finally:
        shutil.rmtree(home, ignore_errors=True)


def write(
    conn: db.Connection, servers: Servers, home: Path, found: dict[str, UUID], folder: Path
) -> None:
    """Write the pictures of what *found* names, as it is in the database of *conn*."""
    api = RunningApi(make_settings(servers, home), servers.postgres_dsn)
    try:
        with visitor_of(api) as visitor:  # the past is read in portions
            eventually(lambda: 'd="M1 ' in visitor.get("/").text, within=60)
        with chromium() as browser:
            take(conn, browser, api.url, paths(found), folder)
    finally:
        api.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
