"""How many entries of the stream no consumer has been handed.

Redis counts them itself, and is wrong for good after a failover: some versions, 7.0 among them, do
not tell their replicas how many a group has read, so that one which becomes master takes all it
saw pass for unread. Whether there is anything to read it knows exactly.
"""

from collections.abc import Mapping
from typing import Any


def count_waiting(client: Any, name: str, group: Mapping[str, Any]) -> int:
    """Return how many entries of stream *name* wait for *group*, a row of XINFO GROUPS.

    Exact where Redis' count is, and where nothing waits; else at most what the stream holds.
    """
    told = group.get("lag")
    if told == 0 or not client.xrange(name, f"({group['last-delivered-id'].decode()}", count=1):
        return 0
    length = int(client.xlen(name))
    return length if told is None else min(int(told), length)
