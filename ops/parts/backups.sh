# shellcheck shell=bash
# Backups: directories named by their time. One that is not whole has another name.

TABLES=(deliveries delivery_recipients attempts dead_letters idempotency_reservations pauses operator_actions)

list_backups() {
  local found
  for found in "$BACKUPS"/*/manifest; do
    [ -e "$found" ] || continue
    found=${found%/manifest}
    case $found in *.unfinished) continue ;; esac
    printf '%s  %s deliveries, release %s\n' "${found##*/}" "$(note_in "$found" deliveries)" "$(note_in "$found" version)"
  done
}

# find_backup NAME|DIR|latest: prints its directory.
find_backup() {
  local found=$1
  if [ "$found" = latest ]; then
    found=$(list_backups | tail -n 1 | cut -d' ' -f1)
    [ -n "$found" ] || fail "there is no backup in $BACKUPS" "name one by its directory"
  fi
  case $found in */*) ;; *) found=$BACKUPS/$found ;; esac
  [ -e "$found/manifest" ] || fail "$found is no backup" "ops/backup --list"
  readlink -f "$found"
}

note_in() {
  sed -n "s/^$2=//p" "$1/manifest"
}

dump_database() {
  as_client pg_dump --format=custom --schema=mail --no-owner --no-privileges --lock-wait-timeout=60s >"$1" ||
    fail "pg_dump failed; there is no backup" \
      "look at the lines above; a server newer than this pg_dump needs its postgresql-client"
}

# archive FILE DIRECTORY: with its name, so that it can be laid back beside where it was.
archive() {
  tar -czf "$1" -C "$(dirname "$2")" "$(basename "$2")"
}

# keep_place FILE SETTING: the directory a setting names; what lies in CONF is with the settings.
keep_place() {
  local place
  place=$(setting "$2")
  case $place in
  '' | "$CONF" | "$CONF"/*) return 0 ;;
  esac
  archive "$1" "$place"
}

# Senders at work change their journals: that is no reason to have none.
archive_state() {
  local code=0 parts=() part
  for part in journals supervisor log_level; do
    if [ -e "$STATE/$part" ]; then parts+=("$part"); fi
  done
  tar -czf "$1" --warning=no-file-changed --warning=no-file-removed --ignore-failed-read -C "$STATE" \
    "${parts[@]}" || code=$?
  [ "$code" -le 1 ] || fail "the journals could not be read" "look at $STATE"
}

# The time is that of the beginning: what came later may be missing.
note_circumstances() {
  echo "made_at=$STARTED_AT"
  echo "host=$(hostname)"
  echo "release=$(release_at "$CURRENT")"
  echo "version=$(note_of "$(release_at "$CURRENT")" version)"
  echo "schema=$(ask_database 'SELECT max(version) FROM mail.schema_versions')"
  echo "server=$(ask_database 'SHOW server_version')"
  echo "deliveries=$(ask_database 'SELECT count(*) FROM mail.deliveries')"
}

# verify BACKUP: every file is what it was, and the dump can be read to its end and has our tables.
verify() {
  local listed table
  (cd "$1" && sha256sum --quiet --strict -c SHA256SUMS) >&2 ||
    fail "$1 is damaged" "use another one: ops/backup --list"
  listed=$(pg_restore --list "$1/database.dump") || fail "$1/database.dump cannot be read" "use another one"
  for table in "${TABLES[@]}"; do
    grep -q " TABLE DATA mail $table " <<<"$listed" ||
      fail "$1/database.dump has no table $table" "use another one: ops/backup --list"
  done
  pg_restore --file=/dev/null "$1/database.dump" ||
    fail "$1/database.dump cannot be read to its end" "use another one: ops/backup --list"
}

remove_old_backups() {
  local name
  list_backups | cut -d' ' -f1 | head -n "-$1" | while IFS= read -r name; do
    say "removing the old backup $name"
    rm -rf "${BACKUPS:?}/$name"
  done
}
