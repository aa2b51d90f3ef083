"""django-post_office: `send_queued_mail --processes 2`, batches of 5,000, two threads each.

The command ends when the queue is empty; here it is called again and again in one warm process, so
that no start of an interpreter is counted.
"""

import logging
import sys
import time
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import django
from django.conf import settings
from django.core.management import call_command
from job import FROM, JOB, in_pieces, serve_enqueuer

BATCH = 5000
PROCESSES = 2
THREADS = 2
CREATED_AT_ONCE = 500

address = urlsplit(JOB["postgres"])
host, _, port = JOB["smtp"].partition(":")
settings.configure(
    SECRET_KEY="bench",  # noqa: S106  nothing is signed
    USE_TZ=True,
    INSTALLED_APPS=["post_office"],
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": address.path[1:],
            "USER": address.username,
            "HOST": parse_qs(address.query)["host"][0],
        }
    },
    EMAIL_HOST=host,
    EMAIL_PORT=int(port),
    TEMPLATES=[{"BACKEND": "django.template.backends.django.DjangoTemplates"}],
    DEFAULT_AUTO_FIELD="django.db.models.AutoField",
    POST_OFFICE={
        "BACKENDS": {"default": "django.core.mail.backends.smtp.EmailBackend"},
        "BATCH_SIZE": BATCH,
        "THREADS_PER_PROCESS": THREADS,
        "LOG_LEVEL": 1,
    },
)
django.setup()
logging.disable(logging.WARNING)

from post_office import mail  # noqa: E402  Django must be set up first
from post_office.mail import get_queued, send_queued_mail_until_done  # noqa: E402


def put(mails):
    for piece in in_pieces(mails, CREATED_AT_ONCE):
        mail.send_many(
            [
                {
                    "sender": FROM,
                    "recipients": [one.recipient],
                    "subject": one.subject,
                    "message": one.text,
                    "headers": {"Message-ID": one.message_id},
                }
                for one in piece
            ]
        )


def work():
    lock = Path(JOB["directory"]) / "post_office"
    while True:
        if get_queued().exists():
            send_queued_mail_until_done(str(lock), PROCESSES)
        else:
            time.sleep(0.02)


if __name__ == "__main__":
    match sys.argv[1]:
        case "prepare":
            call_command("migrate", verbosity=0)
        case "work":
            work()
        case "enqueue":
            serve_enqueuer(put)
