"""docs/producing.md: each recipe is run as it stands there, twice, and makes one delivery."""

import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import redis

from mailworkers.adapters import db
from mailworkers.adapters.settings import Settings
from mailworkers.embedded.servers import Servers
from mailworkers.roles.consumer import Consumer
from tests.crash.stores.proxy import Proxy
from tests.web.conftest import RunningApi

PAGE = Path(__file__).parents[2] / "docs" / "producing.md"
RECIPES = dict(
    re.findall(r"<!-- recipe: (\S+) -->\n```\w+\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
)
PROGRAMS = {".sh": "sh", ".py": sys.executable, ".mjs": "node"}
NEEDED = {"by_stream.sh": "redis-cli", "by_http.sh": "curl"}
HTTP = ["by_http.sh", "by_http.py", "by_http.mjs"]
ORDERED = {
    ".sh": ("ops@example.com", None, None),
    ".py": ("ada@example.com", "welcome", "de"),
    ".mjs": ("ada@example.com", "welcome", "de"),
}
Cook = Callable[..., str]


@pytest.fixture
def cook(tmp_path: Path) -> Cook:
    """Return what runs a recipe and returns what it prints; arguments are its environment."""

    def run(name: str, **environ: str) -> str:
        program = PROGRAMS[Path(name).suffix]
        for needed in (program, NEEDED.get(name, program)):
            if shutil.which(needed) is None:
                pytest.skip(f"the recipe is for hosts that have {needed}; this one has none")
        recipe = tmp_path / name
        recipe.write_text(RECIPES[name], "utf-8")
        done = subprocess.run(
            [program, str(recipe)],
            env={**os.environ, "NO_PROXY": "127.0.0.1", **environ},
            capture_output=True,
            check=False,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


@pytest.fixture
def redis_url(servers: Servers, redis_client: redis.Redis) -> Iterator[str]:
    """Return the URL by which programs elsewhere reach the test's Redis."""
    with Proxy(str(servers.places.keyvalue_socket)) as proxy:
        yield f"redis://{proxy.addr}"


def stored(conn: db.Connection) -> list[tuple[Any, ...]]:
    """Return to whom, by which template and in which language each delivery is."""
    return conn.execute(
        "SELECT r.address, d.template_id, d.locale"
        " FROM deliveries d JOIN delivery_recipients r USING (delivery_id)"
    ).fetchall()


def test_the_page_has_a_recipe_for_each_way_and_language() -> None:
    """Three languages, two ways in."""
    assert sorted(RECIPES) == sorted([*HTTP, "by_stream.sh", "by_stream.py", "by_stream.mjs"])


def assert_ordered_once(conn: db.Connection, name: str) -> None:
    """What the recipe says is what is stored, once, and nothing was set aside."""
    expected = ORDERED[Path(name).suffix]
    assert stored(conn) == [expected]
    assert conn.execute("SELECT count(*) FROM malformed_commands").fetchall() == [(0,)]


@pytest.mark.parametrize("name", ["by_stream.sh", "by_stream.py"])
def test_a_recipe_for_the_stream_makes_one_delivery_however_often_it_is_run(
    consumer: Consumer, conn: db.Connection, redis_url: str, cook: Cook, name: str
) -> None:
    """The key is made of what the mail is about, so the second run is recognised."""
    for _ in range(2):
        cook(name, REDIS_URL=redis_url)
    while consumer.step():
        pass

    assert_ordered_once(conn, name)


@pytest.mark.slow  # it fetches the npm package redis
def test_the_recipe_of_node_for_the_stream_makes_one_delivery(
    consumer: Consumer, conn: db.Connection, redis_url: str, cook: Cook, tmp_path: Path
) -> None:
    """With the client that it tells to install."""
    if shutil.which("npm") is None:
        pytest.skip("the recipe is for hosts that have npm; this one has none")
    npm = ["npm", "install", "--no-audit", "--no-fund", "--prefix", str(tmp_path), "redis@5"]
    subprocess.run(npm, check=True, capture_output=True, timeout=90)
    for _ in range(2):
        cook("by_stream.mjs", REDIS_URL=redis_url)
    while consumer.step():
        pass

    assert_ordered_once(conn, "by_stream.mjs")


@pytest.fixture
def api(make_settings: Callable[..., Settings], database: str) -> Iterator[RunningApi]:
    """Return a running API."""
    made = RunningApi(make_settings(), database)
    yield made
    made.close()


@pytest.mark.parametrize("name", HTTP)
def test_a_recipe_for_http_makes_one_delivery_however_often_it_is_run(
    api: RunningApi, conn: db.Connection, cook: Cook, name: str
) -> None:
    """Both runs print the same delivery."""
    printed = [cook(name, MAILER_URL=api.url) for _ in range(2)]

    assert printed[0] == printed[1] != ""
    assert_ordered_once(conn, name)


@pytest.mark.parametrize("name", HTTP)
def test_a_recipe_for_http_asks_again_with_the_same_key(
    unwell: "Unwell", cook: Cook, name: str
) -> None:
    """The first time it hears 503, as while PostgreSQL is away; the token goes with it."""
    printed = cook(name, MAILER_URL=unwell.url, MAILER_TOKEN="secret")

    keys = [headers["Idempotency-Key"] for headers in unwell.heard]
    assert "0190f6a2" in printed
    assert len(keys) == 2
    assert keys[0] == keys[1]
    if name != "by_http.sh":  # where it is said in words
        assert {headers["Authorization"] for headers in unwell.heard} == {"Bearer secret"}


class Unwell:
    """An API that answers 503 first and then takes what it is given; `heard` are the headers."""

    def __init__(self) -> None:
        self.heard: list[Mapping[str, str]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                outer.heard.append(dict(self.headers))
                is_first = len(outer.heard) == 1
                self.send_response(503 if is_first else 202)
                self.end_headers()
                self.wfile.write(b"{}" if is_first else b'{"delivery_id": "0190f6a2"}')

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"


@pytest.fixture
def unwell() -> Iterator[Unwell]:
    """Return an API that is unwell, running."""
    made = Unwell()
    thread = threading.Thread(target=made.server.serve_forever)
    thread.start()
    yield made
    made.server.shutdown()
    thread.join()
    made.server.server_close()
