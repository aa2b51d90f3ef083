# shellcheck shell=bash
# What a release lays outside of its own directory: units, logrotate, completion, the command.

# place_host_files RELEASE: those of this release, also on the way back to an older one.
place_host_files() {
  local from=$1/ops/host unit
  for unit in mailworkers.service mailworkers-backup.service mailworkers-backup.timer; do
    put_file 0644 root:root "$UNITS/$unit" <"$from/$unit"
  done
  put_file 0644 root:root "$LOGROTATE" <"$from/logrotate"
  put_file 0755 root:root "$COMMAND" <"$from/mailworkers"
  if [ "$DRY_RUN" = no ]; then
    "$1/bin/mailworkers" completion bash | put_file 0644 root:root "$COMPLETION"
  fi
  service reload-files
}

remove_host_files() {
  run rm -f "$UNITS/mailworkers.service" "$UNITS/mailworkers-backup.service" \
    "$UNITS/mailworkers-backup.timer" "$LOGROTATE" "$COMPLETION" "$COMMAND"
  service reload-files
}

# Makes the account and the directories; what is there already gets its owner and mode again.
make_account_and_directories() {
  if ! getent passwd "$ACCOUNT" >/dev/null; then
    say "making the account $ACCOUNT"
    run useradd --system --user-group --home-dir "$STATE" --no-create-home --shell /usr/sbin/nologin \
      --comment "mailworkers" "$ACCOUNT"
  fi
  run install -d -m 0755 -o root -g root "$APP" "$RELEASES" "$UNITS" "${LOGROTATE%/*}" "${COMPLETION%/*}" \
    "${COMMAND%/*}" "${BACKUPS%/*}"
  run install -d -m 0750 -o root -g "$ACCOUNT" "$CONF"
  run install -d -m 0700 -o "$ACCOUNT" -g "$ACCOUNT" "$STATE"
  run install -d -m 0750 -o "$ACCOUNT" -g "$ACCOUNT" "$LOGS"
  run install -d -m 0700 -o root -g root "$BACKUPS"
}
