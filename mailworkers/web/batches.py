"""The route that takes a batch of commands in, each standing for itself."""

from http import HTTPStatus

import msgspec
from litestar import post

from mailworkers.core.commands import Command, FailureCode, Refusal, decode_body
from mailworkers.core.refusals import Refused, bad_value, too_large
from mailworkers.web.accepting import Accepted, Acceptor, Result
from mailworkers.web.answers import BatchAnswer, BatchItem, BatchRequest
from mailworkers.web.backend import Backend, backend_of
from mailworkers.web.bodies import read_body
from mailworkers.web.errors import Problem, as_problem, bad_parameter, internal_error, refused
from mailworkers.web.examples import BATCH
from mailworkers.web.intake import outcome_of
from mailworkers.web.login_codes import KEY
from mailworkers.web.orders import WebRequest
from mailworkers.web.tokens import needs

LARGEST_BATCH = 32 * 1024 * 1024
MOST_IN_BATCH = 1000


@post(
    "/deliveries:batch",
    status_code=HTTPStatus.ACCEPTED,
    guards=[needs("intake")],
    operation_id="createDeliveries",
    summary="Accept up to 1000 deliveries",
    tags=["intake"],
    opt={"answer": BatchAnswer, "body": (BatchRequest,), "examples": BATCH},
)
async def create_deliveries(request: WebRequest) -> BatchAnswer:
    """Make up to 1000 deliveries durable in one transaction: 202 after the commit.

    Each command stands for itself: one that is refused leaves the others alone. `results` has one
    entry for each, in order, with the status and the error it would have got alone.
    """
    if KEY.lower() in request.headers:
        raise bad_parameter(KEY, "belongs to one delivery; give each command idempotency_key")
    backend = backend_of(request)
    body = await read_body(request, LARGEST_BATCH)
    results = await backend.work(lambda acceptor: _take_batch(acceptor, backend, body))
    for result in results:
        if isinstance(result, Exception) and as_problem(result) is None:
            request.app.state.report(result)
    return BatchAnswer([_batch_item(result) for result in results])


def _take_batch(acceptor: Acceptor, backend: Backend, body: bytes) -> list[Result]:
    """Decode a batch and accept what can be; a result for each command, in order."""
    decoded = [decode_body(raw, sources=backend.sources) for raw in _split(body)]
    commands = [command for command in decoded if isinstance(command, Command)]
    accepted = iter(acceptor.accept(commands) if commands else ())
    return [item if isinstance(item, Refusal) else next(accepted) for item in decoded]


def _split(body: bytes) -> list[bytes]:
    """Return the commands in *body* as they are written, or raise the answer that refuses it."""
    try:
        batch = msgspec.json.decode(body, type=_Batch)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise _refused_batch(
            Refused(FailureCode.INVALID_JSON, "body", 'is not {"deliveries": [...]}')
        ) from None
    commands = [bytes(raw) for raw in batch.deliveries]
    if not commands:
        raise _refused_batch(bad_value("deliveries", "is empty"))
    if len(commands) > MOST_IN_BATCH:
        raise _refused_batch(too_large("deliveries", f"{MOST_IN_BATCH} commands"))
    # The parser takes the last of two equal keys; what it took must be all there was.
    if body.count(_NAME) - sum(raw.count(_NAME) for raw in commands) != 1:
        raise _refused_batch(bad_value("deliveries", "is given twice"))
    return commands


class _Batch(msgspec.Struct, forbid_unknown_fields=True):
    deliveries: list[msgspec.Raw]


_NAME = b'"deliveries"'


def _refused_batch(error: Refused) -> Problem:
    return refused(error.refusal())


def _batch_item(result: Result) -> BatchItem:
    """Return what one command of a batch came to."""
    if isinstance(result, Accepted):
        return BatchItem(HTTPStatus.ACCEPTED, result.delivery_id, outcome_of(result))
    problem = refused(result) if isinstance(result, Refusal) else as_problem(result)
    problem = problem or internal_error()
    return BatchItem(int(problem.status), error=problem.body)
