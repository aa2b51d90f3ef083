"""Example bodies: shown in the API's description, and sent by its tests."""

from typing import Any

Examples = dict[str, dict[str, Any]]

LOGIN_CODE: Examples = {
    "login code": {"email": "ada@example.com", "code": "492817", "locale": "en"},
}

RENDERED: Examples = {
    "rendered": {
        "payload_mode": "rendered",
        "idempotency_key": "invoice-2026-117",
        "payload": {
            "to": ["Ada Lovelace <ada@example.com>"],
            "subject": "Your invoice 2026-117",
            "text_body": "Dear Ada,\n\nyour invoice is attached.\n",
            "attachments": [
                {
                    "filename": "invoice.txt",
                    "content_type": "text/plain",
                    "content_base64": "MTE3OiA0MiBFVVIK",
                }
            ],
        },
    },
}

TEMPLATE: Examples = {
    "template": {
        "source": "notification",
        "payload_mode": "template",
        "idempotency_key": "welcome-ada",
        "lane": "bulk",
        "payload": {
            "to": ["ada@example.com"],
            "template_id": "welcome",
            "locale": "de",
            "variables": {
                "name": "Ada",
                "confirm_url": "https://example.com/confirm?token=4f1c2a",
            },
        },
    },
}

CANCEL: Examples = {
    "cancel": {"reason": "the invoice was wrong"},
}

REQUEUE: Examples = {
    "requeue": {"reason": "the relay takes mail again"},
    "past its time": {"reason": "the relay takes mail again", "expires_at_ms": 4102358400000},
}

REPLAY: Examples = {
    "dry run": {
        "reason": "the relay takes mail again",
        "filter": {"cause": ["exhausted"], "source": ["notification"]},
        "dry_run": True,
    },
    "ten a second": {
        "reason": "the relay takes mail again",
        "filter": {"lane": ["normal"], "from_ms": 1767225600000},
        "rate_per_second": 10,
    },
}

RESEND: Examples = {
    "resend": {"reason": "they have deleted it by mistake"},
}

BATCH: Examples = {
    "batch": {"deliveries": [RENDERED["rendered"], TEMPLATE["template"]]},
}

PREVIEW: Examples = {
    "with its samples": {},
    "with values": {
        "locale": "de-AT",
        "variables": {
            "name": "Ada",
            "confirm_url": "https://example.com/confirm?token=4f1c2a",
        },
        "samples": False,
    },
}
