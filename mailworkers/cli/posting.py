"""Posting a command to the internal API."""

from typing import Any

from mailworkers.adapters.api_client import ApiClient
from mailworkers.cli.reaching import read_token
from mailworkers.core.errors import ConfigError


def post_command(url: str, fields: dict[str, str], payload: dict[str, Any]) -> dict[str, Any]:
    """Post the command to the API at *url* and return its answer: it is durable then."""
    try:
        client = ApiClient(url, read_token())
    except ValueError as error:
        raise ConfigError(f"--api or MAIL_API_URL: {error}") from None
    key = {"Idempotency-Key": fields["idempotency_key"]}
    try:
        return client.post("/deliveries", dict[str, Any], {**fields, "payload": payload}, key)
    finally:
        client.close()
