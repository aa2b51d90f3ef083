"""Requests to the internal API, as a producer or an operator makes them."""

import http.client
import json
from typing import Any

DELIVERIES = "/api/v1/internal/deliveries"


def post(
    connection: http.client.HTTPConnection, route: str, body: bytes
) -> tuple[int, dict[str, Any]]:
    """Return status and JSON object of the answer; status 0 when whether it was done is unknown."""
    try:
        connection.request("POST", route, body, {"Content-Type": "application/json"})
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    except (OSError, http.client.HTTPException, ValueError):
        connection.close()
        return 0, {}


def is_final_answer(status: int) -> bool:
    """Whether asking again would change nothing."""
    return 200 <= status < 500 and status not in (408, 425, 429)
