# shellcheck shell=bash
# How the scripts of ops/ speak, ask, lock, and do things: sourced by each of them.
#
# What is done is said first, on the terminal and in the log of operations. With --dry-run it is only
# said. What goes wrong is one line that names it, and one that says what to do next.

OPERATIONS_LOG=${MAILWORKERS_ROOT:-}/var/log/mailworkers-operations.log
SPEAKER=${SPEAKER:-ops/${0##*/}}
DRY_RUN=${DRY_RUN:-no}
SURE=${SURE:-no}

# Nothing ends without a word, also where nobody thought of it. Variables are named here, not shown.
set -E
trap 'tell_where "$LINENO" "${BASH_SOURCE[0]:-$0}" "$BASH_COMMAND"' ERR

tell_where() {
  warn "stopped at line $1 of ${2##*/}: ${3%%$'\n'*}"
}

say() {
  local words=$*
  if [ "$DRY_RUN" = yes ]; then words="(dry run) $words"; fi
  printf '%s\n' "$words"
  log_operation "$*"
}

# From the moment something may be changed; a mistyped option is nobody's business.
log_operation() {
  [ "${IS_AT_WORK:-no}" = yes ] || return 0
  printf '%s %s: %s\n' "$(date -u +%FT%TZ)" "$SPEAKER" "$*" >>"$OPERATIONS_LOG" 2>/dev/null || true
}

warn() {
  printf '%s: %s\n' "$SPEAKER" "$*" >&2
  log_operation "$*"
}

# fail WHAT NEXT [EXIT CODE]
fail() {
  warn "$1"
  printf '  -> %s\n' "$2" >&2
  exit "${3:-1}"
}

# Does a command, or says that it would. Secrets are never among the words.
run() {
  if [ "$DRY_RUN" = yes ]; then
    printf 'would run: %s\n' "$*"
  else
    "$@"
  fi
}

# put_file MODE OWNER:GROUP PATH: writes standard input there, whole or not at all.
put_file() {
  local mode=$1 owner=$2 path=$3
  if [ "$DRY_RUN" = yes ]; then
    cat >/dev/null
    printf 'would write: %s (%s, %s)\n' "$path" "$mode" "$owner"
    return
  fi
  local unfinished
  unfinished=$(mktemp "$path.XXXXXX")
  if ! { cat >"$unfinished" && chown "$owner" "$unfinished" && chmod "$mode" "$unfinished"; }; then
    rm -f "$unfinished"
    fail "$path could not be written" "free some space, or look at the rights of its directory"
  fi
  mv -T "$unfinished" "$path"
}

# Goes on only when a person typed WORD, or gave --yes.
ask_for() {
  local word=$1 question=$2 answer=''
  [ "$SURE" = yes ] && return
  [ "$DRY_RUN" = yes ] && return
  printf '%s\nType "%s" to go on: ' "$question" "$word"
  read -r answer || true
  [ "$answer" = "$word" ] || fail "nothing was changed" "type $word, or give --yes"
}

need_root() {
  [ "$(id -u)" = 0 ] || fail "this changes the system and must be done by root" "sudo $0 ..."
}

# One operation at a time; the lock goes with this process.
take_lock() {
  [ "$DRY_RUN" = yes ] && return
  IS_AT_WORK=yes
  [ "${OPERATION_LOCKED:-no}" = yes ] && return # by the script that called this one
  mkdir -p "${MAILWORKERS_ROOT:-}/run/lock"
  exec 9>"${MAILWORKERS_ROOT:-}/run/lock/mailworkers-operations"
  flock -n 9 || fail "another of the ops scripts is at work" "wait until it has ended"
}

# A directory of this run for what is in between, readable by root alone.
make_work() {
  WORK=$(mktemp -d)
  chmod 0711 "$WORK" # what one file in it is for, its own mode says
}

# Prints the comment at the head of the running script, which is its help.
print_help() {
  sed -n '2,/^$/{s/^# \{0,1\}//;p}' "$0"
}

# need_value OPTION VALUE...: refuses an option that stands alone.
need_value() {
  if [ $# -ge 2 ] && [ -n "$2" ]; then return; fi
  fail "$1 needs a value" "$SPEAKER --help" 2
}

need_word() {
  [ $# -ge 2 ] || fail "$1 needs a value, which may be empty" "$SPEAKER --help" 2
}

unknown_option() {
  fail "$1 is no option of this" "$SPEAKER --help" 2
}
