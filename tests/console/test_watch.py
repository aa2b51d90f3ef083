"""The overview is read once for all who look, and nobody waits for a slow reading."""

import threading
import time
from datetime import timedelta

import psycopg

from mailworkers.adapters.gauges import Question
from mailworkers.adapters.store.pool import Pool
from mailworkers.web.console.watch import Watch
from tests.console.scenes import be_alive
from tests.eventually import eventually
from tests.web.conftest import Row

Connection = psycopg.Connection[Row]


def test_a_glance_gives_the_last_answer_while_the_next_one_takes_its_time() -> None:
    """The first asker waits; those who follow are answered at once by what is known."""
    may_answer = threading.Event()
    answers = iter(range(10))

    def read() -> int:
        number = next(answers)
        if number:
            may_answer.wait(60)
        return number

    question = Question("postgres", read, fresh=timedelta(0), kept=timedelta(seconds=60))
    first = question.glance()
    began = time.monotonic()
    others = {question.glance() for _ in range(20)}
    took = time.monotonic() - began
    may_answer.set()

    assert (first, others) == (0, {0})
    assert took < 5
    assert eventually(lambda: question.glance() > 0, within=10)


def test_many_who_look_are_one_reader(database: str, conn: Connection) -> None:
    """A hundred glances within two seconds are one or two readings, on one connection."""
    be_alive(conn)
    pool = Pool(database, "mailworkers console", size=4, limit=timedelta(seconds=5))
    watch = Watch(pool)
    watch.seen()

    def look() -> None:
        for _ in range(25):
            assert len(watch.seen().processes) == 7

    lookers = [threading.Thread(target=look) for _ in range(4)]
    for looker in lookers:
        looker.start()
    for looker in lookers:
        looker.join()

    row = conn.execute(
        "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'mailworkers console'"
    ).fetchone()
    pool.close()
    assert row == (1,)
