# shellcheck shell=bash
# Bringing a backup back: into the database in one transaction, together with the pause.

PAUSE_REASON='restored from a backup: compare with what was sent since, then resume'

# Other hosts would go on with what is no longer there, and settle what they hold into the restored rows.
refuse_while_others_work() {
  local others
  others=$(ask_database "SELECT DISTINCT application_name || ' from ' || coalesce(client_addr::text, 'here')
    FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()
    AND application_name LIKE 'mailworkers%'")
  [ -z "$others" ] || [ "$DESPITE" = yes ] ||
    fail "others work on this database: ${others//$'\n'/, }" "stop the service on every host first, or --despite"
}

# What is there may be wanted yet: whoever restores is in a hurry.
keep_what_is_there() {
  local kept
  kept=$BACKUPS/before-restore-$(date -u +%Y%m%dT%H%M%SZ).dump
  [ "$(ask_database "SELECT to_regclass('mail.deliveries') IS NOT NULL")" = t ] || return 0
  if as_client pg_dump --format=custom --schema=mail --no-owner --no-privileges >"$kept"; then
    say "what was there is kept in $kept"
  else
    rm -f "$kept"
    warn "what is there cannot be dumped (see above) and is replaced"
  fi
}

# restore_database BACKUP: old schema away, backup in, pause on: all or nothing. Without the last line nothing is committed.
restore_database() {
  {
    echo 'BEGIN; SET LOCAL client_min_messages = warning; SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = 0;'
    echo 'DROP SCHEMA IF EXISTS mail CASCADE;'
    pg_restore --no-owner --no-privileges --file=- "$1/database.dump" && hold_back "${1##*/}" && echo 'COMMIT;'
  } | as_client psql -X -q -v ON_ERROR_STOP=1 -o /dev/null ||
    fail "the backup could not be restored; the database is as it was" "look at the lines above"
  PAUSE=$(ask_database "SELECT max(pause_id) FROM mail.pauses WHERE created_by = 'cli:ops/restore'")
  [ -n "$PAUSE" ] || fail "the backup ended too early; the database is as it was" "use another one"
}

hold_back() {
  cat <<SQL
INSERT INTO mail.pauses (lane, source, reason, created_by)
VALUES (NULL, NULL, '$PAUSE_REASON', 'cli:ops/restore');
INSERT INTO mail.operator_actions (actor, action, subject, before, after, reason, acted_at)
VALUES ('cli:ops/restore', 'restore', '$1', NULL, NULL, '$PAUSE_REASON', now());
SQL
}

# Journals here are younger than those of the backup, and tell what the database has forgotten: they
# stay. A host that has none (a new one) gets those of the backup.
restore_journals() {
  if compgen -G "$STATE/journals/*.journal" >/dev/null; then return; fi
  tar -xzf "$1/state.tar.gz" -C "$STATE" --no-same-owner
  find "$STATE" -mindepth 1 -maxdepth 2 -exec chown -h "$ACCOUNT:$ACCOUNT" {} +
}

# restore_settings BACKUP: for a host that is to take the place of another. What it had is kept beside.
restore_settings() {
  say "restoring settings, catalog and keys"
  if [ -e "$SETTINGS" ]; then run mv "$SETTINGS" "$SETTINGS.before-restore"; fi
  run tar -xzpf "$1/settings.tar.gz" -C "${CONF%/*}" --exclude="${MANAGER##*/}"
  run chgrp -R "$ACCOUNT" "$CONF"
  run chown root:root "$SETTINGS"
  restore_place "$1" templates.tar.gz MAIL_TEMPLATE_DIR
  restore_place "$1" dkim.tar.gz MAIL_DKIM_DIR
  if [ "$(setting MAIL_REDIS_MASTER_ADDR)" = 127.0.0.1:6379 ] && [ -e "$REDIS_SETTINGS" ] &&
    [ -n "$(setting MAIL_REDIS_PASSWORD)" ]; then
    write_redis_settings "$(setting MAIL_REDIS_PASSWORD)"
  fi
}

restore_place() {
  local place
  place=$(setting "$3")
  if [ -e "$1/$2" ] && ! [ -e "$place" ]; then
    run install -d "$(dirname "$place")"
    run tar -xzpf "$1/$2" -C "$(dirname "$place")"
    run chgrp -R "$ACCOUNT" "$place"
  fi
}

tell_how_to_release() {
  cat <<TEXT

Everything is held back by pause $PAUSE. Commands are taken in as before and wait.
  1. What was accepted after $(note_in "$1" made_at) and is not in the stream any more is lost:
     producers send it again; a key that is known does no harm.
  2. Compare with the relay's log:  $0 --compare --relay-log FILE
     and withdraw what went out:    $0 --compare --relay-log FILE --cancel
  3. Release:                       sudo mailworkers resume $PAUSE --reason "compared with the relay"
TEXT
}
