"""An account of PostgreSQL that may read and write mail's rows, and create nothing."""

from collections.abc import Iterator

import psycopg
import pytest
import redis
from psycopg import sql
from psycopg.conninfo import make_conninfo

from mailworkers.adapters import db
from mailworkers.embedded.ports import free_port
from tests.crash.operation.commands import put
from tests.crash.operation.verdicts import count
from tests.crash.processes import Roles
from tests.eventually import eventually

ACCOUNT = "mail_least_rights"
_RIGHTS = (
    "GRANT USAGE ON SCHEMA mail TO {account}",
    "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA mail TO {account}",
    "GRANT USAGE ON ALL SEQUENCES IN SCHEMA mail TO {account}",
)


@pytest.fixture
def least(conn: db.Connection, database: str) -> Iterator[str]:
    """Return the DSN of an account that owns nothing and may create nothing."""
    account = sql.Identifier(ACCOUNT)
    conn.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD 'least'").format(account))
    for right in _RIGHTS:
        conn.execute(sql.SQL(right).format(account=account))
    yield make_conninfo(database, user=ACCOUNT, password="least")
    conn.execute(sql.SQL("DROP OWNED BY {}").format(account))
    conn.execute(sql.SQL("DROP ROLE {}").format(account))


def test_roles_work_for_an_account_that_may_create_nothing(
    roles: Roles, least: str, conn: db.Connection, redis_client: redis.Redis
) -> None:
    """MS-31: the schema is made by somebody else, `MAIL_MIGRATE=never`, and mail goes through."""
    with psycopg.connect(least, autocommit=True) as own:
        for forbidden in ("CREATE SCHEMA x", "CREATE DATABASE x", "CREATE TABLE mail.x ()"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                own.execute(forbidden.encode())
    roles.environ |= {"MAIL_POSTGRES_PRIMARY_DSN": least, "MAIL_MIGRATE": "never"}
    started = [roles.start(role) for role in ("consumer", "scheduler", "sender", "retention")]
    started.append(roles.start("api", MAIL_INTERNAL_HTTP_ADDR=f"127.0.0.1:{free_port()}"))
    ports = {"HTTP_PORT": str(free_port()), "PROMETHEUS_PORT": str(free_port())}
    started.append(roles.start("monitor", **ports))
    put(redis_client)

    eventually(lambda: count(conn, "sent") == 1, within=30)
    eventually(lambda: roles.logs().count('"role started"') == len(started), within=30)

    assert [process.exit_code for process in started] == [None] * len(started)
    assert "store lost" not in roles.logs()
