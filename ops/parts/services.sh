# shellcheck shell=bash
# The service manager: systemd, or (--no-systemd: containers, chroots) nobody but these functions.
#
# Everything else asks `service WHAT`; what was chosen at the installation stands in a file.

service_manager() {
  if [ -n "${MANAGED_BY:-}" ]; then
    echo "$MANAGED_BY"
  else
    cat "$MANAGER" 2>/dev/null || echo systemd
  fi
}

# service start|stop|restart|enable|disable|reload-files; service is-up says whether it answers.
service() {
  if [ "$DRY_RUN" = yes ] && [ "$1" != is-up ]; then
    printf 'would do: service %s (%s)\n' "$1" "$(service_manager)"
    return
  fi
  case $1 in
  is-up) control pid >/dev/null 2>&1 ;;
  restart)
    service stop
    service start
    ;;
  *) "by_$(service_manager)" "$1" ;;
  esac
}

# control WORD...: supervisorctl of the running supervisord, whoever started it.
control() {
  "$CURRENT/bin/supervisorctl" -s "unix://$STATE/supervisor.sock" "$@"
}

by_systemd() {
  case $1 in
  start)
    systemctl reset-failed mailworkers.service 2>/dev/null || true
    systemctl start mailworkers.service
    wait_until_up
    ;;
  stop) systemctl stop mailworkers.service ;;
  enable)
    systemctl enable --quiet mailworkers.service
    systemctl enable --quiet --now mailworkers-backup.timer
    ;;
  disable) systemctl disable --quiet --now mailworkers.service mailworkers-backup.timer ;;
  reload-files) systemctl daemon-reload ;;
  esac
}

by_none() {
  case $1 in
  start) start_supervisord ;;
  stop) stop_supervisord ;;
  enable | disable | reload-files) ;; # nobody starts it at boot
  esac
}

start_supervisord() {
  service is-up && return
  (
    umask 077
    cd "$STATE"
    as_service setsid --fork "$CURRENT/bin/python" -m mailworkers supervise
  ) </dev/null >>"$SUPERVISE_LOG" 2>&1
  wait_until_up
}

wait_until_up() {
  local deadline=$((SECONDS + 60))
  until service is-up; do
    [ "$SECONDS" -lt "$deadline" ] || return 1
    sleep 0.5
  done
}

# Returns when supervisord and all roles are gone; roles get MAIL_STOP_WAIT to finish what they hold.
stop_supervisord() {
  local pid deadline=$((SECONDS + 120))
  pid=$(supervisord_pid)
  [ -n "$pid" ] || return 0
  kill -TERM "$pid" 2>/dev/null || true
  while is_our_supervisord "$pid"; do
    [ "$SECONDS" -lt "$deadline" ] ||
      fail "supervisord (pid $pid) did not stop within two minutes" "look at $LOGS/supervisord.log"
    sleep 0.2
  done
}

# Prints the pid of the running supervisord of this installation; a left-over file proves nothing.
supervisord_pid() {
  local pid
  pid=$(cat "$STATE/supervisord.pid" 2>/dev/null || true)
  if [[ $pid =~ ^[0-9]+$ ]] && is_our_supervisord "$pid"; then echo "$pid"; fi
}

is_our_supervisord() {
  [ -r "/proc/$1/cmdline" ] && tr '\0' ' ' <"/proc/$1/cmdline" 2>/dev/null | grep -q 'supervisor\.supervisord'
}
