"""The message a template makes, for people to look at: by intake's path, to nobody, never signed.

A signature would let whoever may look at templates send what they like under our domain's name:
the values are theirs, and a message that is signed is valid wherever it comes from.
"""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

import msgspec

from mailworkers.adapters.catalog import Catalog
from mailworkers.adapters.intake import Intake
from mailworkers.core.commands import Command
from mailworkers.core.deliveries import NewDelivery
from mailworkers.core.payloads import read_payload
from mailworkers.core.refusals import Refusal, Refused
from mailworkers.core.states import Lane, PayloadMode

READER = "Reader <reader@example.com>"
_ID = UUID("01900000-0000-7000-8000-000000000000")  # the same preview gives the same message


class Previewer:
    """Makes previews of the templates of one *catalog*; called from any thread."""

    def __init__(self, intake: Intake, catalog: Catalog) -> None:
        self.catalog = catalog
        self._intake = intake

    def compose(
        self, template_id: str, locale: str, variables: Mapping[str, Any], *, samples: bool
    ) -> NewDelivery | Refusal:
        """Return the delivery a command of *template_id*, which exists, would become, or why not.

        Args:
            samples: those of the contract stand in for variables that are not given.
        """
        given = {name: value for name, value in variables.items() if value is not None}
        if samples:
            given = self._samples(template_id) | given
        try:
            command = _command(template_id, locale, given)
        except Refused as refused:
            return refused.refusal()
        return self._intake.preview(command)

    def _samples(self, template_id: str) -> dict[str, Any]:
        """Return the samples as JSON would bring them: TOML has dates of its own."""
        samples = self.catalog.templates[template_id].contract.examples()
        plain: dict[str, Any] = msgspec.to_builtins(samples)
        return plain


def _command(template_id: str, locale: str, variables: dict[str, Any]) -> Command:
    value = {
        "to": [READER],
        "template_id": template_id,
        "locale": locale,
        "variables": variables,
    }
    return Command(
        delivery_id=_ID,
        source="api",
        payload_mode=PayloadMode.TEMPLATE,
        idempotency_key="preview",
        requested_at=None,
        request_id=None,
        traceparent=None,
        lane=Lane.NORMAL,
        send_at=None,
        expires_at=None,
        payload=read_payload(value, PayloadMode.TEMPLATE),
        fingerprint=b"",  # it is never stored
        names_lane=False,
    )
