"""The service under what its unit forbids, as far as that can be had without systemd as process 1.

There are: the unit's system call filter, its ban on memory that is writable and executable, its
address families, no capability at all, no new privileges, and a file system that is read-only but
for the two directories of the service. Not shown by it: PrivateUsers=, PrivateDevices=,
ProtectProc= and what systemd itself does (dependencies, cgroups, start at boot).
"""

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.eventually import eventually
from tests.ops.life import APP, OPS, Host
from tests.ops.unit_files import filters

_PLACE = "/usr/local/lib/as-the-unit"
_PARTS = f'HERE={OPS}; . "$HERE/parts/everything.sh"'
_START = f"""
mount --make-rprivate /
for place in /var/lib/mailworkers /var/log/mailworkers; do mount --bind "$place" "$place"; done
mount -t tmpfs tmpfs /tmp
mount -o remount,bind,ro /
{_PARTS}
enter_settings
umask 077
exec setpriv --reuid=mailworkers --regid=mailworkers --init-groups --inh-caps=-all \\
  --bounding-set=-all --no-new-privs -- \\
  /usr/bin/python3 {_PLACE}/as_the_unit.py {_PLACE}/rules.json \\
  {APP}/bin/python -m mailworkers supervise
"""


def _is_up(host: Host) -> bool:
    return host.run("bash", "-c", f"{_PARTS}; service is-up", check=False).returncode == 0


@contextmanager
def service_as_the_unit(host: Host) -> Iterator[None]:
    """Let the service run under its unit's restrictions meanwhile, and as before afterwards."""
    install = "apt-get install -y -qq --no-install-recommends python3-seccomp"
    host.run("sh", "-c", f"DEBIAN_FRONTEND=noninteractive {install}; mkdir -p {_PLACE}")
    rules = json.dumps(filters("mailworkers.service"))
    program = Path(__file__).with_name("as_the_unit.py").read_text(encoding="utf-8")
    for name, text in (("rules.json", rules), ("as_the_unit.py", program)):
        write = host.root.command("sh", "-c", f"cat >{_PLACE}/{name}")
        subprocess.run(write, input=text, text=True, check=True)
    host.run("bash", "-c", f"{_PARTS}; service stop")
    command = host.root.command("unshare", "--mount", "bash", "-euc", _START)
    running = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        eventually(lambda: _is_up(host), within=60)
        yield
    finally:
        host.run("bash", "-c", f"{_PARTS}; service stop")
        running.wait(60)
        host.run("bash", "-c", f"{_PARTS}; service start")
