"""Postfix as a relay: an instance of our own, whatever the system's one does.

Configuration, queue, lock files and log lie in the testbed's directory; it listens on a free port
of the loopback interface only. `smtp-source` is the producer: its 250s are the acknowledgement.
"""

import grp
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from mailworkers.bench.arrivals import Arrival, Check
from mailworkers.bench.peers.peer import PeerMissing, Work
from mailworkers.bench.postfix_tools import PostfixTools, await_listener, find_tools
from mailworkers.bench.testbed import BenchFailed, Testbed
from mailworkers.embedded.ports import free_port
from mailworkers.embedded.server_commands import ends_with_parent, tail

_SESSIONS_IN = 8
_STOPPING = 20  # seconds
# Three accounts that must differ: Postfix' own where it is installed, else some of Debian's.
_OWNERS = ("postfix", "daemon")
_GROUPS = ("postdrop", "mail")
_NOBODY = "nobody"
_QUEUES = (
    *("active", "bounce", "corrupt", "defer", "deferred", "flush", "hold", "incoming"),
    *("private", "saved", "trace"),
)

_MAIN = """\
compatibility_level = 3.6
queue_directory = {home}/queue
data_directory = {home}/data
daemon_directory = {daemons}
command_directory = {commands}
meta_directory = {home}/etc
mail_owner = {owner}
setgid_group = {group}
default_privs = {nobody}
import_environment = MAIL_CONFIG TZ LANG=C LD_LIBRARY_PATH={libraries}
maillog_file = {home}/log/postfix.log
maillog_file_prefixes = {home}
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
myhostname = localhost
mydestination =
local_recipient_maps =
alias_maps =
alias_database =
mynetworks = 127.0.0.0/8
smtpd_relay_restrictions = permit_mynetworks, reject
smtpd_recipient_restrictions =
smtpd_peername_lookup = no
smtpd_client_connection_count_limit = 0
smtpd_tls_security_level = none
receive_override_options = no_address_mappings
relayhost = [127.0.0.1]:{relay_port}
smtp_tls_security_level = none
smtp_dns_support_level = disabled
smtp_host_lookup = native
smtp_connection_cache_on_demand = yes
smtp_destination_concurrency_limit = 5
initial_destination_concurrency = 5
transport_retry_time = 10s
"""
_MASTER = """\
127.0.0.1:{port} inet n - n - - smtpd
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
smtp unix - - n - 20 smtp
relay unix - - n - 20 smtp
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
"""


class PostfixPeer:
    """Debian's Postfix: installed, or unpacked into our cache."""

    name = "postfix"
    promise = "250 to end-of-data: queue file written and fsynced"
    settings = "relay, no chroot, no rewriting, 8 kept sessions in, 5 kept sessions out"

    def install(self) -> str:
        """Find it, and return its version; it must be run by root."""
        if os.geteuid() != 0:
            raise PeerMissing("Postfix's master runs as root only")
        tools = self._tools()
        found = subprocess.run(
            [tools.commands / "postconf", "-dh", "mail_version"],
            env=tools.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        return found.stdout.strip() or "unknown version"

    def _tools(self) -> PostfixTools:
        tools = find_tools(may_download=True)
        if tools is None or not (tools.daemons / "master").exists():
            raise PeerMissing("there is no Postfix here, and apt-get could not fetch it")
        return tools

    @contextmanager
    def running(self, testbed: Testbed) -> Iterator["RunningPostfix"]:
        """Run an instance of its own that relays to the testbed's sink."""
        with ExitStack() as exits:
            home = Path(tempfile.mkdtemp(prefix="postfix-", dir=testbed.directory))
            exits.callback(shutil.rmtree, home, ignore_errors=True)
            home.chmod(0o755)
            tools = self._tools()
            port = free_port()
            _configure(home, tools, port, testbed.sink.address.rpartition(":")[2])
            yield exits.enter_context(RunningPostfix(home, tools, port))


def _configure(home: Path, tools: PostfixTools, port: int, relay_port: str) -> None:
    owner = next(name for name in _OWNERS if name in {entry.pw_name for entry in pwd.getpwall()})
    group = next(name for name in _GROUPS if name in {entry.gr_name for entry in grp.getgrall()})
    etc, queue = home / "etc", home / "queue"
    for folder in (etc, home / "data", home / "log", queue, queue / "pid", queue / "public"):
        folder.mkdir()
    for name in _QUEUES:
        (queue / name).mkdir(mode=0o700)
    (queue / "maildrop").mkdir(mode=0o730)
    for folder in (home / "data", queue / "public", queue / "maildrop"):
        shutil.chown(folder, owner, group)
    for name in _QUEUES:
        shutil.chown(queue / name, owner)
    values = {
        "home": home,
        "daemons": tools.daemons,
        "commands": tools.commands,
        "libraries": tools.libraries or "/usr/lib/postfix",
        "owner": owner,
        "group": group,
        "nobody": _NOBODY,
        "relay_port": relay_port,
    }
    (etc / "main.cf").write_text(_MAIN.format(**values), encoding="utf-8")
    (etc / "master.cf").write_text(_MASTER.format(port=port), encoding="utf-8")


class RunningPostfix:
    """A running instance; a context manager that stops it."""

    def __init__(self, home: Path, tools: PostfixTools, port: int) -> None:
        self._home = home
        self._tools = tools
        self._port = port
        self._work = Work("", 0, "")

    def __enter__(self) -> "RunningPostfix":
        command = [str(self._tools.daemons / "master"), "-c", str(self._home / "etc"), "-d"]
        self._master = subprocess.Popen(
            ends_with_parent(command, signal.SIGTERM),
            env=self._tools.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            await_listener(self._port)
        except OSError:
            self.__exit__()
            raise BenchFailed(f"Postfix did not start:\n{self._log()}") from None
        return self

    def __exit__(self, *_: object) -> None:
        self._master.send_signal(signal.SIGTERM)
        try:
            self._master.wait(_STOPPING)
        except subprocess.TimeoutExpired:
            os.killpg(self._master.pid, signal.SIGKILL)
            self._master.wait()

    def _log(self) -> str:
        return tail(self._home / "log" / "postfix.log")

    def prepare(self, work: Work) -> None:
        """Remember *work*: `smtp-source` makes the messages while it sends them."""
        self._work = work

    def enqueue(self) -> tuple[int, int]:
        """Let `smtp-source` hand them in over kept sessions; return when it began and ended."""
        started = time.time_ns()
        self._tools.seconds_to_send(
            self._port,
            messages=self._work.messages,
            size=len(self._work.text),
            sessions=_SESSIONS_IN,
        )
        return started, time.time_ns()

    def groups(self) -> Mapping[str, Sequence[int]]:
        """Return the master's process id; the producer counts with our own children."""
        return {"peer": [self._master.pid]}

    def check(self, work: Work, arrivals: Sequence[Arrival]) -> Check:
        """Count copies by Message-ID; `smtp-source` makes these and does not tell us which."""
        copies = Counter(arrival.message_id for arrival in arrivals)
        return Check(
            expected=work.messages,
            arrived=len(arrivals),
            missing=max(0, work.messages - len(copies)),
            doubled=len(arrivals) - len(copies),
            foreign=max(0, len(copies) - work.messages),
        )

    def check_alive(self) -> None:
        """Raise BenchFailed when the master is not running any more."""
        if self._master.poll() is not None:
            raise BenchFailed(f"Postfix ended:\n{self._log()}")
