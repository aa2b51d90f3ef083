"""The verdict over the day of duplicates: every key is one delivery, one mail, one answer."""

from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import psycopg

from mailworkers.gameday.judging.ledgers import read

_SHOWN = 100


class DuplicatesVerdict(NamedTuple):
    """What was violated, the first of each kind and how many, and figures."""

    violations: dict[str, list[str]]
    counts: dict[str, int]
    facts: dict[str, Any]

    @property
    def is_good(self) -> bool:
        """Whether nothing was violated."""
        return not any(self.counts.values())


class _Evidence(NamedTuple):
    keys: int
    conflicts: int
    deliveries: dict[str, list[tuple[str, str]]]  # by key: delivery_id and status
    mails: Counter[str]  # by canary
    answers: dict[str, Counter[tuple[int, str]]]  # by key: status and delivery_id or code
    refused: Counter[str]  # entries by failure code


def judge_duplicates(directory: Path, dsn: str, keys: int, conflicts: int) -> DuplicatesVerdict:
    """Return the verdict over *keys* keys; *conflicts* of them came with other content each way."""
    evidence = _read(directory, dsn, keys, conflicts)
    found = {
        "N-16 every key is exactly one delivery, and it is sent": list(_deliveries(evidence)),
        "N-16 every key is exactly one mail": list(_mails(evidence)),
        "I-11 every copy gets the same answer": list(_answers(evidence)),
        "a known key with other content is refused": list(_refusals(evidence)),
    }
    return DuplicatesVerdict(
        {name: lines[:_SHOWN] for name, lines in found.items()},
        {name: len(lines) for name, lines in found.items()},
        {
            "keys": keys,
            "deliveries": sum(map(len, evidence.deliveries.values())),
            "mails": evidence.mails.total(),
            "answers by HTTP": sum(counter.total() for counter in evidence.answers.values()),
            "entries refused": dict(evidence.refused),
        },
    )


def _read(directory: Path, dsn: str, keys: int, conflicts: int) -> _Evidence:
    deliveries: dict[str, list[tuple[str, str]]] = defaultdict(list)
    answers: dict[str, Counter[tuple[int, str]]] = defaultdict(Counter)
    with psycopg.connect(dsn, application_name="chaos judge") as conn:
        for key, delivery_id, status in conn.execute(
            "SELECT idempotency_key, delivery_id::text, status FROM mail.deliveries"
        ):
            deliveries[key].append((delivery_id, status))
        refused = Counter(
            row[0] for row in conn.execute("SELECT failure_code FROM mail.malformed_commands")
        )
    for line in read(directory / "answers.jsonl"):
        answers[line["key"]][line["status"], line["answer"]] += 1
    mails = Counter(
        canary for line in read(directory / "sink.jsonl") for canary in line.get("canaries", ())
    )
    return _Evidence(keys, conflicts, deliveries, mails, answers, refused)


def _deliveries(evidence: _Evidence) -> Iterator[str]:
    for number in range(evidence.keys):
        rows = evidence.deliveries.get(f"key-{number}", [])
        if [status for _, status in rows] != ["sent"]:
            yield f"key-{number}: {rows}"
    if len(evidence.deliveries) > evidence.keys:
        yield f"{len(evidence.deliveries)} keys instead of {evidence.keys}"


def _mails(evidence: _Evidence) -> Iterator[str]:
    for number in range(evidence.keys):
        if (count := evidence.mails[f"canary{number:016x}"]) != 1:
            yield f"key-{number}: {count} mails"
    if len(evidence.mails) > evidence.keys:
        yield f"{len(evidence.mails)} contents instead of {evidence.keys}"


def _answers(evidence: _Evidence) -> Iterator[str]:
    for key, told in evidence.answers.items():
        ids = {answer for status, answer in told if status in (200, 202)}
        rows = evidence.deliveries.get(key, [])
        if ids != {delivery_id for delivery_id, _ in rows}:
            yield f"{key}: told {ids}, is {rows}"


def _refusals(evidence: _Evidence) -> Iterator[str]:
    """By HTTP 409 to each, by the stream a record of each, and no other refusal at all."""
    by_http = Counter[tuple[int, str]]()
    for told in evidence.answers.values():
        by_http.update({(s, a): n for (s, a), n in told.items() if s not in (200, 202)})
    wanted = min(evidence.conflicts, evidence.keys)
    if by_http != {(409, "idempotency_conflict"): wanted}:
        yield f"by HTTP: {dict(by_http)}, {wanted} conflicts were sent"
    if evidence.refused != {"idempotency_conflict": wanted}:
        yield f"by the stream: {dict(evidence.refused)}, {wanted} conflicts were sent"
