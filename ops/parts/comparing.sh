# shellcheck shell=bash
# After a restore: which of the deliveries that wait went out all the same.
#
# Two witnesses: the senders' own logs (`mail delivery sent` names the delivery) and the relay's, which
# has Message-IDs, and ours begin with the delivery's id.

RELAY_LOGS=() CANCEL=no
UUID='[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}'

# Prints the deliveries the witnesses have seen leave, each once. Logs may be compressed.
seen_leaving() {
  {
    find "$LOGS" -name 'sender-*.log*' -type f -exec zgrep -hF '"mail delivery sent"' {} + |
      grep -oE "\"delivery_id\": ?\"$UUID\"" || true
    if [ ${#RELAY_LOGS[@]} -gt 0 ]; then zgrep -hoiE "<$UUID@" "${RELAY_LOGS[@]}" || true; fi
  } | { grep -oiE "$UUID" || true; } | tr 'A-F' 'a-f' | sort -u
}

# compare: prints what waits, and what of it was seen leaving; with CANCEL withdraws that.
compare() {
  local log
  for log in "${RELAY_LOGS[@]}"; do
    [ -r "$log" ] || fail "$log cannot be read" "name the relay's log by --relay-log"
  done
  seen_leaving >"$WORK/seen"
  chmod 0644 "$WORK/seen"
  say "waiting, by status:"
  ask_database "SELECT '  ' || status, count(*), min(created_at), max(created_at) FROM mail.deliveries
    WHERE finished_at IS NULL GROUP BY status ORDER BY status"
  as_client psql -X -q -v ON_ERROR_STOP=1 -A -t -d 'service=mailworkers' >"$WORK/gone" <<SQL
CREATE TEMPORARY TABLE seen (delivery_id uuid);
\\copy seen FROM '$WORK/seen'
SELECT d.delivery_id FROM mail.deliveries d JOIN seen USING (delivery_id) WHERE d.finished_at IS NULL;
SQL
  say "of these went out already: $(wc -l <"$WORK/gone")"
  head -n 20 "$WORK/gone" | sed 's/^/  /'
  if [ "$CANCEL" = yes ]; then withdraw; fi
}

withdraw() {
  local id
  while IFS= read -r id; do
    as_service "$CURRENT/bin/mailworkers" deliveries cancel "$id" --yes \
      --reason "sent before the database was restored" </dev/null || warn "$id was not withdrawn"
  done <"$WORK/gone"
}
