"""Celery on Redis: solo workers, acks_late, a kept smtplib session, JSON, no results."""

import sys

from celery import Celery
from job import JOB, deliver, serve_enqueuer

app = Celery("mail", broker=f"redis+socket://{JOB['redis']}?virtual_host=1")
app.conf.update(
    task_acks_late=True,
    task_ignore_result=True,
    worker_prefetch_multiplier=4,
    worker_send_task_events=False,
    task_send_sent_event=False,
    broker_connection_retry_on_startup=True,
)


@app.task(name="mail")
def mail(recipient, source):
    deliver(source.encode(), recipient)


def put(mails):
    with app.producer_or_acquire() as producer:
        for one in mails:
            mail.apply_async((one.recipient, one.source().decode()), producer=producer)


if __name__ == "__main__":
    match sys.argv[1]:
        case "prepare":
            with app.connection_for_write() as connection:
                connection.default_channel.client.flushdb()
        case "work":
            quiet = ("--without-gossip", "--without-mingle", "--without-heartbeat")
            name = f"--hostname=w{JOB['number']}@bench"
            app.worker_main(["worker", "--pool=solo", "--loglevel=ERROR", *quiet, name])
        case "enqueue":
            serve_enqueuer(put)
