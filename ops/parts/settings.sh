# shellcheck shell=bash
# The settings of this host: /etc/mailworkers/env, read by systemd and by these functions alike.
#
# Lines NAME=value; a value with blanks at its ends or a quote stands in single or double quotes.
# Nothing is expanded. A backslash means different things to different readers, so there is none:
# passwords with odd characters go into a file, named by NAME_FILE.

# Prints NAME=value for each setting, without quotes; fails, naming the line, where one is odd.
read_settings() {
  local file=$1 line name value number=0
  while IFS= read -r line || [ -n "$line" ]; do
    number=$((number + 1))
    line=${line#"${line%%[![:space:]]*}"}
    case $line in '' | '#'* | ';'*) continue ;; esac
    name=${line%%=*}
    value=${line#*=}
    value=${value%"${value##*[![:space:]]}"}
    if ! [[ $line == *=* && $name =~ ^[A-Za-z_][A-Za-z0-9_]*$ ]]; then
      warn "$file:$number is not NAME=value"
      return 78
    fi
    case $value in
    *\\*) odd_value "$file:$number" "$name" "has a backslash" || return ;;
    \"*\") value=${value#\"} value=${value%\"} ;;
    \'*\') value=${value#\'} value=${value%\'} ;;
    [\'\"]* | *[\'\"]) odd_value "$file:$number" "$name" "has a quote that is not closed" || return ;;
    esac
    printf '%s=%s\n' "$name" "$value"
  done <"$file"
}

odd_value() {
  warn "$1: $2 $3; put the value into a file and name it by $2_FILE"
  return 78
}

# setting NAME: prints its value, nothing where it is not set.
setting() {
  [ -e "$SETTINGS" ] || return 0
  read_settings "$SETTINGS" | sed -n "s/^$1=//p" | tail -n 1
}

# Stops where the settings cannot work, by the words of the product; RELEASE judges them.
check_settings() {
  as_service "$1/bin/mailworkers" config >/dev/null 2>"$WORK/config" && return
  cat "$WORK/config" >&2
  fail "the settings in $SETTINGS do not work" "correct them; docs/configuration.md has each" 78
}

# give_setting NAME VALUE: fills it in unless it has a value, which is kept and told.
give_setting() {
  local name=$1 value=$2 there
  there=$(setting "$name")
  if [ "$there" = "$value" ]; then return; fi
  if [ -n "$there" ]; then
    warn "$name stands in $SETTINGS already and is kept; change it there"
    return
  fi
  if [ "$DRY_RUN" = yes ]; then
    printf 'would set: %s in %s\n' "$name" "$SETTINGS"
    return
  fi
  {
    sed -E -e "/^# FILL IN/{N;/\\n$name=/d}" -e "/^#? ?$name=/d" "$SETTINGS"
    printf '%s="%s"\n' "$name" "$value"
  } | put_file 0600 root:root "$SETTINGS"
}

# Leaves in the environment what a terminal and a locale need, and puts the settings into it.
enter_settings() {
  local name kept=' PATH TERM LANG LC_ALL COLUMNS LINES NO_COLOR TZ MAILWORKERS_ROOT COMP_CWORD COMP_WORDS _MAILWORKERS_COMPLETE '
  local operator=${SUDO_USER:-${LOGNAME:-root}} values line
  values=$(read_settings "$SETTINGS") || exit 78
  for name in $(compgen -e); do
    [[ $kept == *" $name "* ]] || unset "$name" 2>/dev/null || true
  done
  # The audit trail tells who was at the keyboard.
  export LOGNAME=$operator HOME=$STATE PYTHONSAFEPATH=1
  while IFS= read -r line; do
    [ -n "$line" ] && export "${line?}"
  done <<<"$values"
}

# as_service PROGRAM ARGUMENT...: runs it as the service's account, with the service's settings.
as_service() {
  (
    enter_settings
    exec 9>&-
    exec setpriv --reuid="$ACCOUNT" --regid="$ACCOUNT" --init-groups --inh-caps=-all --no-new-privs -- "$@"
  )
}
