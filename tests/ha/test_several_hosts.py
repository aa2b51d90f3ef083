"""Three stores' hosts and two that send, on this machine: one after the other fails under load.

`docs/topology.md` tells what to expect; `./test --long -n 0 -s tests/ha` prints the session.
"""

import secrets
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.ha.cluster import Cluster, running
from tests.ha.drill import Drill
from tests.ha.run import door_of, told
from tests.ha.stores import need_the_packages

SPLIT = 60.0  # seconds, five leases
SHORT_SPLIT = 20.0


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """Return a running cluster; its files stay when the test fails."""
    need_the_packages()
    directory = Path(tempfile.mkdtemp(prefix="mail-ha-"))
    directory.chmod(0o711)
    with running(directory) as made:
        yield made
    if made.may_be_removed:
        shutil.rmtree(directory)


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_hosts_fail_one_after_the_other_and_no_accepted_mail_is_lost(cluster: Cluster) -> None:
    """PostgreSQL's primary, a sending host's network, Redis' master: late, and nothing worse."""
    seed = secrets.randbelow(1_000_000)
    with door_of(cluster) as door:
        drill = Drill(cluster, door, seed)
        drill.say(f"seed {seed}, 20 commands a second, files in {cluster.directory}")
        with drill.load():
            drill.calm()
            drill.count_connections()
            drill.lose_the_primary()
            drill.calm()
            drill.lose_the_standby()
            drill.calm()
            drill.switch_over()
            drill.calm()
            drill.split(cluster.senders["sender2"], SPLIT)
            drill.calm()
            drill.split(cluster.senders["sender2"], SHORT_SPLIT, with_relay=True)
            drill.calm()
            drill.lose_redis()
            drill.calm()
            drill.lose_a_sender(cluster.senders["sender2"])
        verdict = drill.judge()
    drill.tell_duplicates()
    for line in told(verdict):
        drill.say(line)

    assert verdict.is_good
    assert [line for sender in cluster.senders.values() for line in sender.lives()] == []
    cluster.may_be_removed = True
