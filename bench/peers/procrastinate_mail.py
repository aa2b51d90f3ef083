"""procrastinate: eight jobs at a time in each process, done ones deleted, kept smtplib sessions."""

import sys

from job import JOB, deliver, in_pieces, serve_enqueuer
from procrastinate import App, PsycopgConnector, SyncPsycopgConnector

BATCH = 500
CONCURRENCY = 8

is_worker = sys.argv[1] == "work"
connector = PsycopgConnector if is_worker else SyncPsycopgConnector
app = App(connector=connector(conninfo=JOB["postgres"], min_size=1, max_size=10))


@app.task(name="mail")
def mail(recipient, source):
    deliver(source.encode(), recipient)


def put(mails):
    for piece in in_pieces(mails, BATCH):
        mail.batch_defer(
            *({"recipient": one.recipient, "source": one.source().decode()} for one in piece)
        )


if __name__ == "__main__":
    match sys.argv[1]:
        case "prepare":
            with app.open():
                app.schema_manager.apply_schema()
        case "work":
            app.run_worker(concurrency=CONCURRENCY, delete_jobs="successful")
        case "enqueue":
            with app.open():
                serve_enqueuer(put)
