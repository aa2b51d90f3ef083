# shellcheck shell=bash
# The stores as an operator of the host meets them: a database and a Redis of its own, or others'.

DATABASE=mailworkers
REDIS_FILE=$ROOT/etc/redis/mailworkers.conf
REDIS_SETTINGS=$ROOT/etc/redis/redis.conf
POSTGRES_FILE=mailworkers.conf
LOCAL_DSN="host=/var/run/postgresql dbname=$DATABASE user=$ACCOUNT"

as_postgres() {
  (cd / && runuser -u postgres -- "$@" 9>&-)
}

uses_local_postgres() {
  [ "$(setting MAIL_POSTGRES_PRIMARY_DSN)" = "$LOCAL_DSN" ]
}

# Makes the role and the database unless they are there. Nobody but the service's account gets in, and
# that without a password: PostgreSQL asks the kernel who is at the other end of its socket.
make_database() {
  start_local_postgres
  as_postgres psql -X -q -v ON_ERROR_STOP=1 -v role="$ACCOUNT" -v name="$DATABASE" -d postgres <<'SQL'
SELECT format('CREATE ROLE %I LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE', :'role')
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = :'role') \gexec
SELECT format('CREATE DATABASE %I OWNER %I ENCODING ''UTF8'' LOCALE ''C.UTF-8'' TEMPLATE template0',
    :'name', :'role')
WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = :'name') \gexec
SELECT format('REVOKE ALL ON DATABASE %I FROM PUBLIC', :'name') \gexec
SQL
}

start_local_postgres() {
  if as_postgres psql -X -q -d postgres -c 'SELECT 1' >/dev/null 2>&1; then return; fi
  case $(service_manager) in
  systemd) systemctl enable --quiet --now postgresql.service ;;
  none)
    pg_lsclusters --no-header | while read -r version cluster _; do
      pg_ctlcluster "$version" "$cluster" start 9>&- || true
    done
    ;;
  esac
  wait_for 30 as_postgres psql -X -q -d postgres -c 'SELECT 1' ||
    fail "PostgreSQL does not start" "pg_lsclusters, and its log in /var/log/postgresql"
}

# Whether there is a cluster, be it of another package or stopped: PostgreSQL is not ours to set then.
has_postgres() {
  compgen -G "$ROOT/etc/postgresql/*/*" >/dev/null
}

# For a PostgreSQL that we installed ourselves. Ids are random, so a message touches a page of each
# large index: they are to be in memory, and not to be written to WAL whole every few minutes.
tune_postgres() {
  local memory directory tuned=no
  memory=$(awk '/^MemTotal:/ { print int($2 / 1024) }' /proc/meminfo)
  for directory in "$ROOT"/etc/postgresql/*/main/conf.d; do
    [ -d "$directory" ] || continue
    put_file 0644 root:root "$directory/$POSTGRES_FILE" <<CONF
# Written by mailworkers' ops/install; the reasons are in docs/performance.md.
shared_buffers = $((memory / 4 < 2048 ? memory / 4 : 2048))MB
max_wal_size = 4GB
checkpoint_timeout = 15min
wal_compression = lz4
CONF
    tuned=yes
  done
  if [ "$tuned" = yes ]; then restart_local_postgres; fi
}

take_back_tuning() {
  local file tuned=no
  for file in "$ROOT"/etc/postgresql/*/main/conf.d/"$POSTGRES_FILE"; do
    [ -e "$file" ] || continue
    run rm -f "$file"
    tuned=yes
  done
  if [ "$tuned" = yes ]; then restart_local_postgres; fi
}

restart_local_postgres() {
  case $(service_manager) in
  systemd) run systemctl restart postgresql.service ;;
  none)
    pg_lsclusters --no-header | while read -r version cluster _; do
      run pg_ctlcluster "$version" "$cluster" restart 9>&-
    done
    ;;
  esac
}

drop_database() {
  as_postgres psql -X -q -v ON_ERROR_STOP=1 -v role="$ACCOUNT" -v name="$DATABASE" -d postgres <<'SQL'
SELECT format('DROP DATABASE IF EXISTS %I WITH (FORCE)', :'name') \gexec
SELECT format('DROP ROLE IF EXISTS %I', :'role') \gexec
SQL
}

# For a Redis that we installed ourselves: it writes down what it takes and wants a password.
secure_redis() {
  local password
  if [ -e "$REDIS_FILE" ]; then return; fi
  password=$(new_secret)
  give_setting MAIL_REDIS_PASSWORD "$password"
  write_redis_settings "$password"
}

# write_redis_settings PASSWORD: lets the Redis here be what the settings of the service say.
write_redis_settings() {
  put_file 0640 root:redis "$REDIS_FILE" <<CONF
# Written by mailworkers' ops/install: commands must outlive a crash, and not be for everybody here.
appendonly yes
maxmemory-policy noeviction
requirepass $1
CONF
  if ! grep -qsxF "include $REDIS_FILE" "$REDIS_SETTINGS"; then
    run tee -a "$REDIS_SETTINGS" <<<"include $REDIS_FILE" >/dev/null
  fi
  restart_local_redis
}

restart_local_redis() {
  case $(service_manager) in
  systemd) run systemctl restart redis-server.service ;;
  none) run /etc/init.d/redis-server restart 9>&- >/dev/null ;;
  esac
}

start_local_redis() {
  case $(service_manager) in
  systemd) run systemctl enable --quiet --now redis-server.service ;;
  none) run /etc/init.d/redis-server start 9>&- >/dev/null || true ;;
  esac
}

new_secret() {
  head -c 24 /dev/urandom | od -An -tx1 | tr -d ' \n'
}

# wait_for SECONDS COMMAND...
wait_for() {
  local deadline=$((SECONDS + $1))
  shift
  until "$@" >/dev/null 2>&1; do
    [ "$SECONDS" -lt "$deadline" ] || return 1
    sleep 0.5
  done
}

# name_database DIRECTORY: how libpq's programs reach the database without a secret among the words
# anybody can read in the list of processes. They are run by as_client, which uses what this wrote.
name_database() {
  local directory=$1
  as_service "$CURRENT/bin/python" - <<'PYTHON' >"$directory/service"
import os

from mailworkers.adapters.db import connection_parameters
from mailworkers.adapters.settings import load

print("[mailworkers]")
for name, value in connection_parameters(load(os.environ).postgres_dsn, "mailworkers ops").items():
    if name != "options":
        print(f"{name}={value}")
PYTHON
  chown "$ACCOUNT" "$directory" "$directory/service"
  chmod 0600 "$directory/service"
  SERVICE_FILE=$directory/service
}

# as_client PROGRAM ARGUMENT...: psql, pg_dump and the like, as the service's account.
as_client() {
  (
    cd /
    export PGSERVICEFILE=$SERVICE_FILE PGSERVICE=mailworkers HOME=$STATE
    exec setpriv --reuid="$ACCOUNT" --regid="$ACCOUNT" --init-groups --inh-caps=-all -- "$@" 9>&-
  )
}

# ask_database SQL: prints the rows, columns by tabs.
ask_database() {
  as_client psql -X -q -v ON_ERROR_STOP=1 -A -t -F $'\t' -c "$1"
}
