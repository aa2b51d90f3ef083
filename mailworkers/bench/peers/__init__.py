"""Others on the same work: each peer's own workers, configured as its users would for speed.

`peer.py` says what a peer is, `python_peers.py` and `postfix.py` who they are, `venvs.py` installs
those of PyPI into a cache of ours, `measuring.py` runs one of them on a testbed. What runs inside
their environments lies in the checkout's `bench/peers/`.
"""
