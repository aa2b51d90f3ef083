"""Peers by name, as the command line gives them."""

from pathlib import Path

import msgspec

from mailworkers.bench.peers.peer import Peer
from mailworkers.bench.peers.postfix import PostfixPeer
from mailworkers.bench.peers.python_peers import PYTHON_PEERS
from mailworkers.core.errors import ConfigError


def find_peers(names: str, cache: Path | None = None) -> list[Peer]:
    """Return the peers of *names*, comma-separated, `all` for every one, in that order.

    Those of PyPI are installed below *cache*. Raises ConfigError for a name that is none.
    """
    python = (msgspec.structs.replace(peer, cache=cache) for peer in PYTHON_PEERS)
    every: list[Peer] = [PostfixPeer(), *python]
    known = {peer.name: peer for peer in every}
    wanted = [name for part in names.split(",") if (name := part.strip())]
    if wanted == ["all"]:
        return list(known.values())
    for name in wanted:
        if name not in known:
            raise ConfigError(f"there is no peer {name!r}: choose of {', '.join(known)}, or all")
    return [known[name] for name in dict.fromkeys(wanted)]
