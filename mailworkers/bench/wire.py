"""The wire: how many messages a second SMTP alone carries on this machine, without any queue."""

from mailworkers.bench.figures import Figure
from mailworkers.bench.postfix_tools import PostfixTools
from mailworkers.bench.progress import Progress

SESSIONS = 4


def measure_wire(
    tools: PostfixTools, *, messages: int, size: int, repeat: int, progress: Progress
) -> Figure:
    """Return what `smtp-source` into `smtp-sink` does over kept sessions, in messages a second."""
    text = f"the wire: smtp-source into smtp-sink, {SESSIONS} sessions, {repeat} x {messages}"
    with progress.step(text), tools.running_sink() as port:
        seconds = [
            tools.seconds_to_send(port, messages=messages, size=size, sessions=SESSIONS)
            for _ in range(repeat)
        ]
    return Figure.of((messages / took for took in seconds), digits=0)
