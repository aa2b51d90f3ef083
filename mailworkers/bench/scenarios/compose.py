"""What composing costs: CPU time of one process from a decoded command to the bytes that are sent.

No store and no network. In each round every way is measured in turn, the standard library's
`EmailMessage` among them, so that a machine that grows slower or faster favours none.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from pathlib import Path
from tempfile import TemporaryDirectory

from mailworkers.bench.composing import Way, Workbench
from mailworkers.bench.cpu import Meter
from mailworkers.bench.figures import Figure
from mailworkers.bench.machine import describe_alone
from mailworkers.bench.progress import Progress
from mailworkers.bench.report import Report
from mailworkers.bench.testbed import BenchFailed

Round = Mapping[str, float]  # microseconds a message, by the name of the way

_HEAVY = {"emailmessage": 10, "attachment": 50, "attachment_with_decoding": 50}
_WARM_UP = 3
_TEMPLATE, _PEER = "template", "emailmessage"


def run(messages: int, *, size: int, repeat: int, progress: Progress) -> Report:
    """Measure *repeat* rounds of *messages* in each way, of heavy ones as many fewer.

    Args:
        size: bytes of text of a message that is not from a template.
    """
    with TemporaryDirectory() as directory:
        workbench = Workbench(Path(directory), size)
        ways = {
            _TEMPLATE: workbench.template(),
            "signed": workbench.signed(),
            "rendered": workbench.rendered(),
            "attachment": workbench.attachment(),
            "attachment_with_decoding": workbench.attachment_with_decoding(),
            _PEER: workbench.emailmessage(),
        }
        surroundings = describe_alone(Path(directory))
    check_alike(ways[_TEMPLATE](0), ways[_PEER](0))
    meter = Meter({})
    with progress.step("composing", repeat) as advance:
        rounds = []
        for _ in range(repeat):
            rounds.append(
                {name: _measure(way, _count(name, messages)) for name, way in ways.items()}
            )
            advance(1)
    others = Figure.of([meter.read().other_cores], digits=2)
    settings = {"messages": messages, "size": size, "rounds": repeat}
    figures = {**_figures(rounds), "other_cores": others}
    return Report("compose", figures, None, settings, surroundings)


def _round(ways: Mapping[str, Way], messages: int) -> Round:
    return {name: _measure(way, _count(name, messages)) for name, way in ways.items()}


def _count(name: str, messages: int) -> int:
    return max(1, messages // _HEAVY.get(name, 1))


def _measure(way: Way, count: int) -> float:
    """Return the CPU time of one of *count* messages in microseconds."""
    for number in range(_WARM_UP):
        way(number)
    began = time.process_time_ns()
    for number in range(count):
        way(number)
    return (time.process_time_ns() - began) / count / 1000


def _figures(rounds: Sequence[Round]) -> dict[str, Figure | None]:
    ratios = (found[_PEER] / found[_TEMPLATE] for found in rounds)
    return {
        "ratio_to_emailmessage": Figure.of(ratios, digits=1),
        **{f"{name}_us": Figure.of((one[name] for one in rounds), digits=1) for name in rounds[0]},
    }


def check_alike(ours: bytes, theirs: bytes) -> None:
    """Raise unless both messages say the same: else the ratio would say nothing."""
    if list(_said(ours)) != list(_said(theirs)):
        raise BenchFailed("EmailMessage and mailworkers wrote different messages")


def _said(mime: bytes) -> Iterator[object]:
    message = message_from_bytes(mime, policy=default)
    assert isinstance(message, EmailMessage)  # noqa: S101  what this policy makes
    for name in ("From", "To", "Subject", "Date", "Message-ID", "Auto-Submitted"):
        yield str(message[name])
    for kind in ("plain", "html"):
        part = message.get_body((kind,))
        yield str(part.get_content()).strip() if part else None
