"""`ops/ha/configure`: what an operator fills in becomes the files of each host, or is refused."""

import re
import stat
import subprocess
from pathlib import Path

import pytest
import yaml

from mailworkers.adapters.settings import load
from tests.ha.stores import ADDRESSES, EXAMPLES, PASSWORD, configure, fill_in

STORES_FILES = {"etcd", "patroni.yml", "redis.conf", "sentinel.conf"}
FILES = {**dict.fromkeys(ADDRESSES, STORES_FILES), "sender": {"sender.env"}}


@pytest.fixture
def hosts(tmp_path: Path) -> Path:
    """Return a filled-in copy of the example."""
    path = tmp_path / "hosts"
    fill_in(path, SMTP_USERNAME="shop")
    return path


@pytest.mark.parametrize("name", FILES)
def test_each_host_gets_its_files_whole_and_for_nobody_else_to_read(
    hosts: Path, tmp_path: Path, name: str
) -> None:
    """No placeholder is left; passwords stand in them, so only their owner may look."""
    configure(hosts, name, tmp_path / name)

    made = {path.name: path for path in (tmp_path / name).iterdir()}
    assert set(made) == FILES[name]
    for path in made.values():
        assert not re.search(r"@[A-Z0-9_]+@", path.read_text())
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_only_the_first_master_of_redis_follows_nobody(hosts: Path, tmp_path: Path) -> None:
    """From the first failover on Sentinel writes that line."""
    follows = {}
    for name in ADDRESSES:
        configure(hosts, name, tmp_path / name)
        text = (tmp_path / name / "redis.conf").read_text()
        follows[name] = re.findall(r"^replicaof (\S+) 6379$", text, re.MULTILINE)

    assert follows == {"store1": [], "store2": ["10.0.0.11"], "store3": ["10.0.0.11"]}


def test_patroni_replicates_synchronously_and_has_time_to_give_up(
    hosts: Path, tmp_path: Path
) -> None:
    """What the promise of docs/topology.md hangs on; ttl as Patroni's manual wants it."""
    configure(hosts, "store2", tmp_path / "made")
    told = yaml.safe_load((tmp_path / "made" / "patroni.yml").read_text())
    dcs = told["bootstrap"]["dcs"]

    assert told["name"] == "store2"
    assert dcs["synchronous_mode"] is True
    assert dcs["postgresql"]["parameters"]["synchronous_commit"] == "on"
    assert dcs["loop_wait"] + 2 * dcs["retry_timeout"] <= dcs["ttl"]


def test_the_settings_of_a_sending_host_are_ours(hosts: Path, tmp_path: Path) -> None:
    """No unknown name, no doubt, no contradiction; all three hosts of each store are named."""
    configure(hosts, "sender", tmp_path / "made")
    lines = (tmp_path / "made" / "sender.env").read_text().splitlines()
    environ = dict(line.split("=", 1) for line in lines if line.startswith("MAIL_"))
    settings = load({**environ, "MAIL_STATE_DIR": str(tmp_path)})

    assert settings.warnings == ()
    assert settings.redis_sentinels == tuple(f"{ip}:26379" for ip in ADDRESSES.values())
    assert settings.redis_sentinel_password == PASSWORD
    assert all(f"{ip}:5432" in settings.postgres_dsn for ip in ADDRESSES.values())
    assert "target_session_attrs=read-write" in settings.postgres_dsn


@pytest.mark.parametrize(
    ("change", "name", "complaint"),
    [
        ({"REDIS_PASSWORD": ""}, "store1", "REDIS_PASSWORD is not set"),
        ({"REDIS_PASSWORD": "a b"}, "store1", "REDIS_PASSWORD: letters and digits only"),
        ({"MAILWORKERS_PASSWORD": "a/b"}, "sender", "MAILWORKERS_PASSWORD: letters and digits"),
        ({"RELAY": "a|b"}, "sender", "RELAY: letters and digits only"),
        ({}, "store4", "store4 is neither store1"),
    ],
)
def test_what_cannot_be_written_is_refused_by_name(
    tmp_path: Path, change: dict[str, str], name: str, complaint: str
) -> None:
    """Before anything is written."""
    hosts = tmp_path / "hosts"
    fill_in(hosts, **{"SMTP_USERNAME": "shop", **{k: f"'{v}'" for k, v in change.items()}})
    done = subprocess.run(
        [EXAMPLES / "configure", hosts, name, tmp_path / "made"],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 2
    assert complaint in done.stderr
    assert not (tmp_path / "made").exists()
