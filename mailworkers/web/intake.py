"""Routes that take one command in: a login code, or any delivery."""

from http import HTTPStatus
from typing import Literal

import msgspec
from litestar import Response, post

from mailworkers.core.commands import MAX_BODY, Command, Refusal, decode_body
from mailworkers.core.fields import traceparent_of
from mailworkers.core.refusals import missing_field
from mailworkers.web.accepting import Accepted, Acceptor, Result
from mailworkers.web.answers import (
    AcceptedDelivery,
    LoginCodeAnswer,
    LoginCodeRequest,
    RenderedCommand,
    TemplateCommand,
)
from mailworkers.web.backend import Backend, backend_of
from mailworkers.web.bodies import read_body
from mailworkers.web.errors import bad_parameter, refused
from mailworkers.web.examples import LOGIN_CODE, RENDERED, TEMPLATE
from mailworkers.web.gate import PREFIX
from mailworkers.web.login_codes import KEY, as_asked, login_code_command
from mailworkers.web.orders import WebRequest
from mailworkers.web.tokens import needs

LARGEST_LOGIN_CODE = 16 * 1024
# What is larger is decoded and accepted beside the others, not between them.
_SMALL = 64 * 1024


@post(
    "/login-code-deliveries",
    status_code=HTTPStatus.OK,
    guards=[needs("intake")],
    operation_id="createLoginCodeDelivery",
    summary="Send a login code",
    tags=["intake"],
    opt={
        "answer": LoginCodeAnswer,
        "body": (LoginCodeRequest,),
        "examples": LOGIN_CODE,
        "headers": (KEY,),
    },
)
async def create_login_code_delivery(request: WebRequest) -> Response[LoginCodeAnswer]:
    """Make the mail with a login code durable, on the auth lane.

    The header `Idempotency-Key` (the id of the challenge) is needed. `sent` means durably accepted:
    the mail goes out by itself, and callers do not retry for it.
    """
    backend = backend_of(request)
    body = await read_body(request, LARGEST_LOGIN_CODE)
    command = login_code_command(body, idempotency_key(request), backend.sources)
    result = await _accept(backend, _traced(request, command))
    accepted = _accepted(as_asked(result) if isinstance(result, Refusal) else result)
    outcome: Literal["sent", "suppressed"] = "suppressed" if accepted.is_suppressed else "sent"
    answer = LoginCodeAnswer(outcome, accepted.delivery_id)
    return Response(answer, headers=_headers(accepted))


@post(
    "/deliveries",
    status_code=HTTPStatus.ACCEPTED,
    guards=[needs("intake")],
    operation_id="createDelivery",
    summary="Accept one delivery",
    tags=["intake"],
    opt={
        "answer": AcceptedDelivery,
        "body": (RenderedCommand, TemplateCommand),
        "examples": {**RENDERED, **TEMPLATE},
        "headers": (KEY,),
    },
)
async def create_delivery(request: WebRequest) -> Response[AcceptedDelivery]:
    """Make one delivery durable: 202 after the commit.

    The key is `idempotency_key` in the body or the header `Idempotency-Key`. The same key with the
    same content gets the first answer again, with other content 409.
    """
    backend = backend_of(request)
    body = await read_body(request, MAX_BODY)
    key = idempotency_key(request)
    if len(body) <= _SMALL:
        command = decode_body(body, sources=backend.sources, idempotency_key=key)
        result = await _accept(backend, _traced(request, command))
    else:
        result = await backend.work(lambda acceptor: _take(acceptor, backend, request, body, key))
    accepted = _accepted(result)
    answer = AcceptedDelivery(accepted.delivery_id, outcome_of(accepted))
    return Response(answer, headers=_headers(accepted))


def idempotency_key(request: WebRequest) -> str | None:
    """Return the header Idempotency-Key, None when it was not given."""
    key = request.headers.get(KEY)
    if key == "":
        raise refused(missing_field(KEY, "is empty").refusal())
    if key is not None and not key.isascii():
        raise bad_parameter(KEY, "is not ASCII")
    return key


def _traced(request: WebRequest, command: Command | Refusal) -> Command | Refusal:
    """Return *command* as part of the caller's trace, where the header says so and the body not."""
    header = request.headers.get("traceparent")
    if header is None or isinstance(command, Refusal) or command.traceparent is not None:
        return command
    return msgspec.structs.replace(command, traceparent=traceparent_of({"traceparent": header}))


async def _accept(backend: Backend, command: Command | Refusal) -> Result:
    return command if isinstance(command, Refusal) else await backend.accept(command)


def _accepted(result: Result) -> Accepted:
    """Return what a command was accepted as, or raise the answer it gets."""
    if isinstance(result, Accepted):
        return result
    raise refused(result) if isinstance(result, Refusal) else result


def _take(
    acceptor: Acceptor, backend: Backend, request: WebRequest, body: bytes, key: str | None
) -> Result:
    """Decode and accept one large command."""
    command = _traced(request, decode_body(body, sources=backend.sources, idempotency_key=key))
    return command if isinstance(command, Refusal) else acceptor.accept([command])[0]


def outcome_of(accepted: Accepted) -> Literal["accepted", "suppressed"]:
    """Return the word for what became of a command that was accepted."""
    return "suppressed" if accepted.is_suppressed else "accepted"


def _headers(accepted: Accepted) -> dict[str, str]:
    """Return where the delivery is found, and whether this answer is a repeated one."""
    headers = {"Location": f"{PREFIX}/deliveries/{accepted.delivery_id}"}
    if accepted.is_replay:
        headers["Idempotent-Replayed"] = "true"
    return headers
