"""What happens in the life of a host: the commands of docs/install.md, and what is seen of them."""

import json
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from mailworkers import __version__
from tests.eventually import eventually
from tests.ops.debian_root import DebianRoot

APP = "/opt/mailworkers/current"
OPS = f"{APP}/ops"
WHEELHOUSE = "/var/cache/pip/wheelhouse"
Done = subprocess.CompletedProcess[str]


class Host:
    """A Debian root with a sink on its loopback, and the ways an operator uses the service."""

    def __init__(self, root: DebianRoot, sink_port: int) -> None:
        self.root = root
        self.relay = ("--smtp-addr", f"127.0.0.1:{sink_port}", "--smtp-tls", "none")

    def run(self, *words: str, check: bool = True) -> Done:
        """Do something as root."""
        return self.root.run(*words, check=check)

    def say(self, *words: str, check: bool = True) -> str:
        """Return what `mailworkers` answers to root."""
        return self.run("mailworkers", *words, check=check).stdout

    def version(self) -> str:
        """Return which release the command belongs to."""
        return self.say("--version").split()[-1]

    def versions_alive(self) -> set[str]:
        """Return of which releases living processes are."""
        roles = json.loads(self.say("status", "--json", check=False))["mail"]["roles"]
        return {version for role in roles for version in role["versions"]}

    def send(self, name: str) -> None:
        """Put one mail in, by the stream, under a key of its own."""
        address, key = f"{name}@example.com", f"key-{name}"
        self.say("send", "--to", address, "--subject", "Hello", "--text", "x", "--key", key)

    def arrivals(self) -> Counter[str]:
        """Return how often mail to each local part is at the sink."""
        lines = self.run("cat", "/root/ledger").stdout.splitlines()
        entries = (json.loads(line) for line in lines)
        messages = (entry for entry in entries if entry["kind"] == "message")
        return Counter(entry["rcpt_to"][0].split("@")[0] for entry in messages)

    def expect(self, *names: str, within: float = 60) -> None:
        """Wait until mail to each of *names* has arrived; exactly once."""
        eventually(lambda: set(names) <= self.arrivals().keys(), within=within)
        assert {name: self.arrivals()[name] for name in names} == dict.fromkeys(names, 1)

    def other_source(self, name: str, *, is_broken: bool = False) -> str:
        """Make another tree of the product, its version ending in +NAME; return its place."""
        place = f"/root/{name}"
        taken = "mailworkers sql templates ops docs setup.cfg pyproject.toml supervisord.conf"
        self.run(
            "sh",
            "-euc",
            f"mkdir {place}; cd /root/source; cp -r {taken} README.md LICENSE {place}; cd {place};"
            f" sed -i 's/{__version__}/{__version__}+{name}/' setup.cfg mailworkers/__init__.py",
        )
        if is_broken:
            role = f"{place}/mailworkers/roles/scheduler.py"
            self.run("sh", "-c", f"printf 'def main(_: Settings) -> int:\n    return 1\n' >>{role}")
        return place

    def stored(self, question: str) -> str:
        """Return what the database answers."""
        command = f'cd / && runuser -u postgres -- psql -XAtc "{question}" mailworkers'
        return self.run("sh", "-c", command).stdout.strip()


@contextmanager
def load(root: DebianRoot) -> Iterator[list[str]]:
    """Send one mail after the other meanwhile; the list has their names at the end."""
    script = (
        "i=0; until [ -e /root/enough ]; do i=$((i + 1));"
        " mailworkers send --to load$i@example.com --subject s --text t --key load-$i >/dev/null;"
        " done; rm /root/enough; echo $i"
    )
    names: list[str] = []
    sending = subprocess.Popen(
        root.command("sh", "-euc", script),
        stdout=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        text=True,
    )
    try:
        yield names
    finally:
        root.run("touch", "/root/enough")
        said, _ = sending.communicate(timeout=120)
    names += [f"load{number}" for number in range(1, int(said) + 1)]
