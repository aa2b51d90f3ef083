"""`mailworkers up`: every role on servers of its own, under supervisord, with a mailbox to look at.

prepare    find programs, make the data directory, choose ports, write what supervisord reads
start      supervisord as a child; wait until servers and roles answer
samples    put sample mails in, follow each to the mailbox
stay       show a live status until Ctrl-C, or, with `once`, end when all have arrived
"""

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path

from mailworkers.adapters.process import Every
from mailworkers.adapters.settings import load
from mailworkers.adapters.supervisor import Supervisor
from mailworkers.adapters.supervisor_files import (
    Slots,
    supervisord_command,
    supervisord_environment,
)
from mailworkers.embedded.account import servers_account
from mailworkers.embedded.binaries import ServersMissing, Source, find_binaries
from mailworkers.embedded.installation import Installation, without_foreign_servers
from mailworkers.embedded.journeys import follow, send_samples
from mailworkers.embedded.loopback import Refused, fetch, is_fine
from mailworkers.embedded.ports import choose_ports
from mailworkers.embedded.running import Running, UpFailed, Watch, ends_of_logs
from mailworkers.embedded.samples import (
    SAMPLES,
    UNKNOWN,
    api_url,
    console_url,
    delivery_status,
)
from mailworkers.embedded.screen import Screen
from mailworkers.embedded.server_commands import (
    ends_with_parent,
    is_keyvalue_ready,
    is_postgres_ready,
    places_in,
    prepare_postgres,
)

_STARTING = timedelta(seconds=90)
_STOPPING = timedelta(seconds=60)
_LOOK_EVERY = 0.1
_WATCH_EVERY = 1.0
_STATUS_EVERY = timedelta(seconds=1)
_STATUS_LINE_EVERY = timedelta(seconds=30)  # without a terminal
_COUNTED = ("mail_delivery_accepted_total", "mail_delivery_sent_total", "retries_scheduled_total")
_NOBODY = "00000000-0000-4000-8000-000000000000"


def up(data: Path, *, source: Source, once: bool, reset: bool, screen: Screen) -> None:
    """Run everything in *data*; return after Ctrl-C, or when the samples have arrived (*once*)."""
    for number in (signal.SIGINT, signal.SIGTERM):  # both end it as Ctrl-C does, also in background
        signal.signal(number, signal.default_int_handler)
    installation = Installation(data, servers_account()).make()
    with installation.locked():
        with installation.usable():
            if reset:
                with screen.step(f"removing the old data in {installation.data}"):
                    installation.reset()
            running = _prepare(installation, source, screen)
            process = _start_supervisord(running)
        watch = Watch(running, process)
        try:
            _wait_until_ready(running, watch, screen)
            _show_samples(running, screen, is_failure_fatal=once)
            if not once:
                _stay(running, watch, screen)
        except KeyboardInterrupt:
            screen.say()
            if once:
                raise
        finally:
            _stop(process, screen)
    if once:
        screen.say(f"All {len(SAMPLES)} sample mails arrived.", style="bold green")


def _prepare(installation: Installation, source: Source, screen: Screen) -> Running:
    """Make everything that supervisord needs; nothing runs yet."""
    if find_spec("aiosmtpd") is None:
        raise ServersMissing("the mailbox is missing: pip install 'mailworkers[embedded]'")
    home = installation.servers_home()
    with screen.step("finding PostgreSQL and Valkey or Redis"):
        binaries = find_binaries(source, installation.account, home)
    for program in (binaries.postgres, binaries.keyvalue):
        screen.say(f"  {program.path.name} {program.version}: {program.path}", style="dim")
    places = places_in(home, binaries, installation.account)
    with screen.step(f"preparing the data in {home}"):
        prepare_postgres(binaries, places, installation.account, durable=True)
    ports = choose_ports(installation.ports_memory)
    values = installation.settings(places, ports, os.environ)
    installation.write_environment(values)
    settings = load(values)
    slots = Slots(settings.state_dir)
    slots.prepare(settings.sender_concurrency)
    installation.write_servers(binaries, places, ports)
    return Running(
        installation=installation,
        places=places,
        ports=ports,
        settings=settings,
        environment={**without_foreign_servers(os.environ), **values},
        supervisor=Supervisor(settings.supervisor_socket, slots, settings.stop_wait),
    )


def _start_supervisord(running: Running) -> subprocess.Popen[bytes]:
    """Start supervisord as our child, in a session of its own: Ctrl-C is ours to handle."""
    environment = supervisord_environment(running.settings, running.environment)
    with (running.installation.log / "supervisord.out").open("ab") as out:
        return subprocess.Popen(
            ends_with_parent(supervisord_command(), signal.SIGTERM),
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
        )


def _wait_until_ready(running: Running, watch: Watch, screen: Screen) -> None:
    places, health = running.places, running.health
    steps: list[tuple[str, Callable[[], bool]]] = [
        ("supervisord", running.supervisor.is_up),
        ("PostgreSQL", lambda: is_postgres_ready(places.postgres)),
        ("Valkey or Redis", lambda: is_keyvalue_ready(places.keyvalue_socket)),
        ("mailbox", lambda: is_fine(f"{running.mailbox}/messages.json?limit=0")),
        ("roles", lambda: is_fine(f"{health}/health") and is_fine(f"{health}/ready")),
        ("API", lambda: delivery_status(running.settings, _NOBODY) == UNKNOWN),
    ]
    for name, is_ready in steps:
        with screen.step(f"starting {name}"):
            _wait(running, watch, name, is_ready)


def _wait(running: Running, watch: Watch, name: str, is_ready: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _STARTING.total_seconds()
    while not is_ready():
        watch.check_start()
        if time.monotonic() > deadline:
            logs = ends_of_logs(running)
            raise UpFailed(f"{name} did not get ready in {_STARTING.seconds} s{logs}")
        time.sleep(_LOOK_EVERY)


def _show_samples(running: Running, screen: Screen, *, is_failure_fatal: bool) -> None:
    """Send the samples and tell their journeys; a failure is only told when somebody stays."""
    try:
        follow(running, send_samples(running, screen), screen)
    except UpFailed as error:
        if is_failure_fatal:
            raise
        screen.say(str(error), style="red")
    _print_places(running, screen)


def _print_places(running: Running, screen: Screen) -> None:
    installation, settings = running.installation, running.settings
    # supervisorctl reads a supervisord.conf where it is called, and that of a checkout needs these.
    environment = f". {shlex.quote(str(installation.environment_file))}"
    server = '"unix://$MAIL_SUPERVISOR_SOCKET"'
    screen.table(
        ["what", "where"],
        [
            ["mailbox", running.mailbox],
            ["console", console_url(settings)],
            ["API", api_url(settings, "/deliveries")],
            ["health", f"{running.health}/health and /ready"],
            ["metrics", running.metrics],
            ["logs", f"{installation.log}"],
            ["commands", f"{environment}; {_tool('mailworkers')} --help"],
            ["processes", f"{environment}; {_tool('supervisorctl')} -s {server} status"],
        ],
    )


def _tool(name: str) -> str:
    """Return what to type for a program of this installation."""
    ours = Path(sys.executable).parent / name
    found = shutil.which(name)
    return name if found and Path(found) == ours else shlex.quote(str(ours))


def _stay(running: Running, watch: Watch, screen: Screen) -> None:
    """Show what runs and what was sent until Ctrl-C; UpFailed soon after supervisord ends."""
    due = Every(_STATUS_EVERY if screen.is_terminal else _STATUS_LINE_EVERY)
    with screen:
        while True:
            programs = watch.programs()
            if due.is_due():
                screen.show(programs, _summary(running))
            time.sleep(_WATCH_EVERY)


def _summary(running: Running) -> str:
    """Return the numbers of all processes since the data was made, from `/metrics`."""
    try:
        text = fetch(running.metrics).decode()
    except (OSError, Refused):
        return f"{running.metrics} does not answer"
    totals = {name: _total(text, name) for name in _COUNTED}
    accepted, sent, retries = totals.values()
    return (
        f"accepted {accepted:,.0f}   sent {sent:,.0f}   retries {retries:,.0f}   "
        f"mailbox {running.mailbox}"
    )


def _total(text: str, name: str) -> float:
    found = re.findall(rf"^{name}(?:{{[^}}]*}})? (\S+)", text, re.MULTILINE)
    return sum(float(value) for value in found)


def _stop(process: subprocess.Popen[bytes], screen: Screen) -> None:
    """Stop everything in order: roles together, then the servers. A second Ctrl-C kills."""
    with screen.step("stopping: roles first, then the servers"):
        if process.poll() is None:
            process.terminate()
        try:
            process.wait(_STOPPING.total_seconds())
        except (subprocess.TimeoutExpired, KeyboardInterrupt):
            process.kill()  # its children end with it
            process.wait()
