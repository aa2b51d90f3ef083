"""The description of the internal API (OpenAPI 3.1), made from its routes.

`python -m mailworkers.web.openapi` prints it; `api/internal-openapi.yaml` is what it printed last,
and a test compares the two. Paths and parameters come from the framework, bodies from our types.
"""

import sys
from collections.abc import Iterator
from http import HTTPStatus
from inspect import cleandoc
from typing import Any

import msgspec
from litestar import Litestar
from litestar.datastructures import State
from litestar.handlers import HTTPRouteHandler
from litestar.openapi import OpenAPIConfig
from litestar.routes import HTTPRoute

from mailworkers.core.payloads import RenderedPayload, TemplatePayload
from mailworkers.core.refusals import FailureCode
from mailworkers.web.answers import BatchRequest, RenderedCommand, TemplateCommand
from mailworkers.web.app import litestar_app
from mailworkers.web.errors import ErrorCode, ErrorEnvelope

Json = dict[str, Any]

VERSION = "1"
_SCHEMAS = "#/components/schemas/"
_ALWAYS = (
    HTTPStatus.BAD_REQUEST,
    HTTPStatus.UNAUTHORIZED,
    HTTPStatus.FORBIDDEN,
    HTTPStatus.INTERNAL_SERVER_ERROR,
    HTTPStatus.SERVICE_UNAVAILABLE,
)
_WITH_BODY = (
    HTTPStatus.REQUEST_TIMEOUT,
    HTTPStatus.CONFLICT,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
)
_HEADERS = {
    "Idempotency-Key": "the key under which a repeated request is recognised, 1 to 255 characters",
}
_TAGS = {
    "intake": "Taking mail in (scope `intake`)",
    "deliveries": "What became of it (scope `read`)",
    "verbs": "Changing what becomes of it (scope `operate`)",
    "dead letters": "What could not be sent (scope `read`; `operate` for changes)",
    "malformed commands": "What was refused (scope `read`; `operate` for changes)",
    "templates": "What they take and make (scope `read`)",
    "operating": "The whole service (scope `read`; `operate` for changes)",
}
_ABOUT = f"""\
Takes mail in from trusted services and tells people what became of it.

While no API token exists, only programs of the same host may ask. With tokens, each request needs
one with the scope of its operation: `intake`, `read`, `operate` or `admin`.

Every error is `{{"error": {{"code", "message", "details"}}}}`. `code` is one of
{", ".join(f"`{code}`" for code in sorted({*ErrorCode, *FailureCode}))}.
`details.path` names the field that is to blame, where one is.
"""


def describe() -> Json:
    """Return the whole description, in the order it is printed."""
    config = OpenAPIConfig(title="mailworkers internal API", version=VERSION)
    app = litestar_app(State(), config)
    paths = app.openapi_schema.to_schema()["paths"]
    operations = list(_operations(app))
    for path, method, handler in operations:
        paths[path][method] = _operation(paths[path][method], handler)
    return {
        "openapi": "3.1.0",
        "info": {"title": config.title, "version": VERSION, "description": _ABOUT},
        "servers": [{"url": "http://127.0.0.1:8080"}],
        "security": [{"token": []}, {}],
        "tags": [{"name": name, "description": text} for name, text in _TAGS.items()],
        "paths": paths,
        "components": {
            "responses": {
                "Error": {
                    "description": "What went wrong.",
                    "content": {"application/json": {"schema": _one_of((ErrorEnvelope,))}},
                }
            },
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            "schemas": _schemas([handler for _, _, handler in operations]),
        },
    }


def _operations(app: Litestar) -> Iterator[tuple[str, str, HTTPRouteHandler]]:
    """Yield path, method and handler of every operation that is described."""
    for route in app.routes:
        if not isinstance(route, HTTPRoute):
            continue
        for handler in route.route_handlers:
            if "answer" in handler.opt:
                path = route.path_format
                for method in handler.http_methods:
                    yield path, str(method).lower(), handler


def _operation(drawn: Json, handler: HTTPRouteHandler) -> Json:
    """Return the operation of *handler*: what the framework has *drawn*, completed."""
    operation: Json = {
        "operationId": drawn["operationId"],
        "summary": drawn["summary"],
        "description": _paragraphs(handler.fn.__doc__ or ""),
        "tags": drawn["tags"],
    }
    headers = [_header(name) for name in handler.opt.get("headers", ())]
    if parameters := [*headers, *map(_parameter, drawn.get("parameters", ()))]:
        operation["parameters"] = parameters
    if "body" in handler.opt:
        operation["requestBody"] = _body(handler)
    operation["responses"] = _responses(handler)
    return operation


def _paragraphs(docstring: str) -> str:
    """Return *docstring* with each paragraph on one line."""
    paragraphs = cleandoc(docstring).split("\n\n")
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)


def _header(name: str) -> Json:
    schema = {"type": "string", "minLength": 1, "maxLength": 255}
    return {"name": name, "in": "header", "description": _HEADERS[name], "schema": schema}


def _parameter(drawn: Json) -> Json:
    """Return a parameter without what only repeats or says nothing."""
    kept = {name: drawn[name] for name in ("name", "in", "description", "required")}
    return {**kept, "schema": _plain(drawn["schema"])}


def _plain(schema: Json) -> Json:
    """Return a parameter's *schema* without null, which a query cannot say."""
    schema = {name: value for name, value in schema.items() if name != "description"}
    for choice in schema.pop("oneOf", ()):
        if choice.get("type") != "null":
            schema = {**choice, **schema}
    return {
        name: int(value) if isinstance(value, float) else value for name, value in schema.items()
    }


def _body(handler: HTTPRouteHandler) -> Json:
    examples = {name: {"value": value} for name, value in handler.opt["examples"].items()}
    content = {"schema": _one_of(handler.opt["body"]), "examples": examples}
    return {"required": True, "content": {"application/json": content}}


def _one_of(types: tuple[type, ...]) -> Json:
    references = [{"$ref": f"{_SCHEMAS}{kind.__name__}"} for kind in types]
    return references[0] if len(references) == 1 else {"oneOf": references}


def _responses(handler: HTTPRouteHandler) -> Json:
    content = {"application/json": {"schema": _one_of((handler.opt["answer"],))}}
    for media_type in handler.opt.get("also", ()):
        content[media_type] = {"schema": {"type": "string"}}
    described = {handler.status_code: _success(handler), **handler.opt.get("also_answers", {})}
    responses = {
        str(int(status)): {"description": text, "content": content}
        for status, text in described.items()
    }
    statuses = {*_ALWAYS, *handler.opt.get("errors", ())}
    if "body" in handler.opt:
        statuses |= set(_WITH_BODY)
    errors = {str(int(status)): {"$ref": "#/components/responses/Error"} for status in statuses}
    return {**responses, **dict(sorted(errors.items()))}


def _success(handler: HTTPRouteHandler) -> str:
    return _paragraphs(handler.opt["answer"].__doc__ or "").split("\n\n")[0]


def _schemas(handlers: list[HTTPRouteHandler]) -> Json:
    """Return the schema of every type in bodies, answers and parameters, by name."""
    types: set[type] = {ErrorEnvelope, RenderedCommand, TemplateCommand, FailureCode}
    for handler in handlers:
        types |= {handler.opt["answer"], *handler.opt.get("body", ())}
    ordered = sorted(types, key=lambda kind: kind.__name__)
    _, schemas = msgspec.json.schema_components(ordered, ref_template=_SCHEMAS + "{name}")
    either = _one_of((RenderedCommand, TemplateCommand))
    schemas[BatchRequest.__name__]["properties"]["deliveries"]["items"] = either
    for kind in (RenderedPayload, TemplatePayload):
        _allow_nothing(schemas[kind.__name__])
    return {name: _described(schemas[name]) for name in sorted(schemas)}


def _allow_nothing(schema: Json) -> None:
    """Say of an object's optional fields that null is as good as leaving them out."""
    for name in schema["properties"].keys() - set(schema.get("required", ())):
        field = schema["properties"][name]
        if {"type": "null"} not in field.get("anyOf", ()):
            kept = {key: field.pop(key) for key in ("default", "description") if key in field}
            schema["properties"][name] = {"anyOf": [field, {"type": "null"}], **kept}


def _described(schema: Json) -> Json:
    if "description" in schema:
        schema["description"] = _paragraphs(schema["description"])
    return schema


def as_yaml(description: Json) -> str:
    """Return *description* as YAML, always the same for the same."""
    import yaml  # of the test extra: nobody else needs it

    class Dumper(yaml.SafeDumper):
        """YAML with texts of several lines as they are, and nothing by reference."""

        def ignore_aliases(self, _: object) -> bool:
            return True

    Dumper.add_representer(
        str,
        lambda dumper, text: dumper.represent_scalar(
            "tag:yaml.org,2002:str", text, style="|" if "\n" in text else None
        ),
    )
    text: str = yaml.dump(
        msgspec.to_builtins(description),
        Dumper=Dumper,
        sort_keys=False,
        allow_unicode=True,
        width=100,
    )
    return text


if __name__ == "__main__":
    sys.stdout.write(as_yaml(describe()))
