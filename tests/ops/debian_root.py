"""A fresh Debian of this machine's suite, in namespaces of its own: nothing of the host is touched.

The base is made once by debootstrap from the machine's own package sources and kept in a cache
outside the checkout; each run writes on an overlay above it, which goes with the run. Mounts,
processes and network are those of namespaces of its own: whatever is started in there ends with
them. The network is user-mode (slirp4netns): the inside reaches package sources and no port of this
machine.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.eventually import eventually

PROGRAMS = ("debootstrap", "unshare", "nsenter", "slirp4netns")
_CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mailworkers-tests"
_SOURCES = ("/etc/apt/sources.list.d/debian.sources", "/etc/apt/sources.list")
# In the root: the directories of this machine's package index, and who vouches for it.
_INDEX = "/etc/host-index"
_AUTHORITIES = "/etc/host-authorities.crt"


def missing_programs() -> list[str]:
    """Return what this machine lacks to make a root."""
    return [name for name in PROGRAMS if shutil.which(name) is None]


def suite() -> str:
    """Return the name of this machine's Debian, such as bookworm."""
    lines = Path("/etc/os-release").read_text(encoding="utf-8").splitlines()
    return next(line.split("=", 1)[1] for line in lines if line.startswith("VERSION_CODENAME="))


def _mirror() -> str:
    """Return where this machine gets its own suite from."""
    targets = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(SITE) $(RELEASE) $(COMPONENT)"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    found = (line.split() for line in targets.splitlines())
    return next(words[0] for words in found if words[1:] == [suite(), "main"])


def base() -> Path:
    """Return the cached base, made when it is not there yet."""
    whole = _CACHE / f"debian-{suite()}"
    if not whole.exists():
        unfinished = whole.with_suffix(f".{os.getpid()}")
        unfinished.parent.mkdir(parents=True, exist_ok=True)
        command = ["debootstrap", "--variant=minbase", suite(), str(unfinished), _mirror()]
        subprocess.run(command, check=True, capture_output=True)
        unfinished.rename(whole)
    return whole


class DebianRoot:
    """A running root: `run` does something in it as root."""

    def __init__(self, path: Path, pid: int) -> None:
        self.path = path
        self._pid = pid

    def command(self, *words: str) -> list[str]:
        """Return what runs *words* inside, from outside."""
        namespaces = ["--mount", "--pid", "--net", "--uts", "--ipc", "--root", "--wdns=/root"]
        return ["nsenter", f"--target={self._pid}", *namespaces, "--", *words]

    def run(self, *words: str, check: bool = True, **more: str) -> subprocess.CompletedProcess[str]:
        """Run *words* inside; *more* is added to its environment."""
        done = subprocess.run(
            self.command(*words),
            check=False,
            capture_output=True,
            text=True,
            env=_environment(more),
            stdin=subprocess.DEVNULL,
            timeout=900,
        )
        assert not check or done.returncode == 0, f"{words}: {done.stdout}\n{done.stderr}"
        return done


def _environment(more: Mapping[str, str]) -> dict[str, str]:
    """Return what programs inside get: nothing of ours but the way to the package index."""
    return {
        **{name: value for name, value in os.environ.items() if name.startswith("PIP_")},
        "PIP_CERT": _AUTHORITIES,
        "PIP_CACHE_DIR": "/var/cache/pip",
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": "/root",
        "LANG": "C.UTF-8",
        **more,
    }


@contextlib.contextmanager
def debian_root(source: Path) -> Iterator[DebianRoot]:
    """Start a root with *source* at /root/source, readable; end all of it afterwards."""
    directory = Path(tempfile.mkdtemp(prefix="mail-debian-", dir=_CACHE if base() else None))
    parts = {name: directory / name for name in ("upper", "work", "root")}
    for part in parts.values():
        part.mkdir()
    _prepare(parts["upper"])
    outer = subprocess.Popen(
        ["unshare", "--mount", "--pid", "--net", "--uts", "--ipc", "--fork", "--kill-child",
         "sh", "-euc", _INSIDE, "sh", str(base()), str(parts["upper"]), str(parts["work"]),
         str(parts["root"]), str(source), str(_CACHE)],
    )  # fmt: skip
    slirp: subprocess.Popen[bytes] | None = None
    try:
        pid = eventually(lambda: _child_of(outer.pid), within=60)
        eventually((directory / "upper" / "run" / "ready").exists, within=60)
        slirp = subprocess.Popen(
            [
                "slirp4netns",
                "--configure",
                "--mtu=65520",
                "--disable-host-loopback",
                str(pid),
                "tap0",
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        yield DebianRoot(parts["root"], pid)
    finally:
        if slirp is not None:
            slirp.kill()
            slirp.wait()
        outer.send_signal(signal.SIGKILL)  # and with it, by --kill-child, everything inside
        outer.wait()
        eventually(lambda: _is_removed(directory), within=30)


def _is_removed(directory: Path) -> bool:
    """Remove *directory*; the kernel takes its mounts away a moment after the last process."""
    shutil.rmtree(directory, ignore_errors=True)
    return not directory.exists()


# The first process of the namespaces: mounts, then waits as init does, and collects whoever died.
_INSIDE = """
mount --make-rprivate /
mount -t overlay overlay -o "lowerdir=$1,upperdir=$2,workdir=$3" "$4"
mount -t proc proc "$4/proc"
mount -t tmpfs tmpfs "$4/dev"
for name in null zero full random urandom tty; do
  touch "$4/dev/$name"
  mount --bind "/dev/$name" "$4/dev/$name"
done
mkdir "$4/dev/pts" "$4/dev/shm"
ln -s /proc/self/fd "$4/dev/fd"
ln -s fd/0 "$4/dev/stdin"
mount -t tmpfs tmpfs "$4/dev/shm"
mkdir -p "$4/root/source" "$6/archives"
mount --bind "$5" "$4/root/source"
mount -o remount,bind,ro "$4/root/source"
mount --bind "$6/archives" "$4/var/cache/apt/archives"
mkdir -p "$6/pip" "$4/var/cache/pip"
mount --bind "$6/pip" "$4/var/cache/pip"
while read -r place; do
  [ -n "$place" ] || continue
  mkdir -p "$4$place"
  mount --bind -o ro "$place" "$4$place"
done <"$4/etc/host-index"
hostname fresh
ip link set lo up
cd "$4"
pivot_root . mnt
umount -l /mnt
mkdir -p /run/lock
touch /run/ready
trap : TERM
while :; do sleep 3600 & wait $! || :; done
"""


def _child_of(pid: int) -> int:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
    return int(children[0]) if children else 0


def _prepare(upper: Path) -> None:
    """Lay this machine's way to packages into the root, and nothing else of it."""
    for directory in ("etc/apt/sources.list.d", "etc/apt/apt.conf.d", "run", "root"):
        (upper / directory).mkdir(parents=True)
    (upper / "root").chmod(0o700)
    for name in _SOURCES:
        if Path(name).exists():
            shutil.copy(name, upper / name[1:])
    for found in Path("/etc/apt/apt.conf.d").glob("*artifact*"):
        shutil.copy(found, upper / str(found)[1:])
    (upper / "etc/apt/apt.conf.d/99test").write_text('APT::Keep-Downloaded-Packages "true";\n')
    (upper / "etc/resolv.conf").write_text("nameserver 10.0.2.3\n", encoding="ascii")
    shutil.copy("/etc/ssl/certs/ca-certificates.crt", upper / _AUTHORITIES[1:])
    _prepare_pip(upper)


def _prepare_pip(upper: Path) -> None:
    """Copy pip's own configuration, and note the local directories it names, to be mounted."""
    places: set[str] = {os.environ.get("PIP_FIND_LINKS", "")}
    for number, name in enumerate(("/etc/pip.conf", str(Path.home() / ".config/pip/pip.conf"))):
        if not Path(name).exists():
            continue
        text = Path(name).read_text(encoding="utf-8")
        target = upper / ("etc/pip.conf" if number == 0 else "root/.config/pip/pip.conf")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")
        # An index of files keeps them beside its pages.
        places |= {str(Path(word[7:]).parent) for word in text.split() if word.startswith("file:")}
        places |= set(text.split())
    local = sorted(place for place in places if place.startswith("/") and Path(place).is_dir())
    (upper / _INDEX[1:]).write_text("".join(f"{place}\n" for place in local), encoding="utf-8")
