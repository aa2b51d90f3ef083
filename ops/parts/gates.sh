# shellcheck shell=bash
# Gates: what must hold before an upgrade goes on. Asked of the running service by its own commands.

# shellcheck disable=SC2034
# In the order in which they are restarted: who looks first, who takes new mail in last.
ROLES=(monitor retention scheduler sender consumer api)

# Prints what `mailworkers status` calls wrong, one a line, numbers left out: they change as we look.
# Fails where it could not be asked.
wrong_now() {
  local answer
  answer=$(as_service "$CURRENT/bin/mailworkers" status --json) || true
  [ -n "$answer" ] || return 1
  "$CURRENT/bin/python" -c 'import json, re, sys
for problem in json.load(sys.stdin)["problems"]:
    print(re.sub(r"[0-9]+", "N", problem["what"]))' <<<"$answer" | LC_ALL=C sort -u
}

# nothing_new KNOWN SECONDS: waits until nothing is wrong but what the lines KNOWN say.
nothing_new() {
  local known=$1 deadline=$((SECONDS + $2)) found=''
  while :; do
    if found=$(wrong_now); then
      NEWLY_WRONG=$(LC_ALL=C comm -23 <(printf '%s\n' "$found" | sed '/^$/d') <(printf '%s\n' "$known"))
      if [ -z "$NEWLY_WRONG" ]; then return 0; fi
    else
      NEWLY_WRONG="mailworkers status does not answer"
    fi
    [ "$SECONDS" -lt "$deadline" ] || return 1
    sleep 1
  done
}

# keeps_well KNOWN SECONDS: the processes that run now run on for SECONDS, and nothing new is wrong.
keeps_well() {
  local known=$1 deadline=$((SECONDS + $2)) before
  before=$(pids_now)
  while [ "$SECONDS" -lt "$deadline" ]; do
    sleep 1
    if [ "$(pids_now)" != "$before" ]; then
      NEWLY_WRONG="a process has ended by itself and was started again"
      return 1
    fi
  done
  nothing_new "$known" 20
}

pids_now() {
  { control status || true; } | awk '{print $1, $2, $4}' | sort
}

# restart_role ROLE: one process after the other, each only when the one before gives signs of life.
restart_role() {
  as_service "$CURRENT/bin/mailworkers" restart "$1" --rolling
}
