# Sourced by ./run, ./test and .ci/run in the checkout's root: `ensure_venv EXTRAS` makes .venv with
# this checkout and its EXTRAS (embedded, test, dev), anew whenever setup.cfg or Python changes.

# The distribution's own Python comes first, unless PYTHON names another: it is built with
# profile-guided optimisation, those of version managers mostly are not. That is an eighth of the CPU.
find_python() {
  if [ -n "${PYTHON:-}" ]; then
    set -- "$PYTHON"
  else
    set -- /usr/bin/python3 python3 python3.14 python3.13 python3.12 python3.11
  fi
  for python in "$@"; do
    if "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null &&
      { "$python" -c 'import ensurepip' 2>/dev/null || may_install; }; then
      return
    fi
  done
  echo "Python 3.11 or newer is needed with its module venv (Debian: apt-get install python3 python3-venv)" >&2
  exit 1
}

may_install() {
  [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null
}

# Debian's python3 comes without venv. Root can be helped, others are told.
make_venv() {
  rm -rf .venv
  if "$python" -m venv .venv >/dev/null 2>&1; then return; fi
  rm -rf .venv # a failed venv leaves a python without pip behind
  if ! may_install; then
    echo "Python's venv module is missing (Debian: apt-get install python3-venv)" >&2
    exit 1
  fi
  echo "installing python3-venv"
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends python3-venv \
    >/dev/null
  "$python" -m venv .venv
}

# Names each package as it comes: on one line of a terminal, which is cleared in the end.
show_progress() {
  if [ -t 1 ]; then
    awk '/^(Collecting|Downloading|Installing)/ { printf "\r\033[K  %.70s", $0; fflush() }
         END { printf "\r\033[K" }'
  else
    awk '/^Installing collected/ { print "  " $0 }'
  fi
}

ensure_venv() {
  extras=$1
  find_python
  # The place counts too: a virtual environment cannot be moved.
  wanted="$(cat setup.cfg pyproject.toml | cksum) $("$python" -V) $PWD"
  marker=".venv/.ready-$extras"
  if [ "$(cat "$marker" 2>/dev/null)" = "$wanted" ]; then return; fi
  if ! grep -qsxF "$("$python" -V) $PWD" .venv/.made; then
    echo "making .venv with $("$python" -V)"
    make_venv
    echo "$("$python" -V) $PWD" >.venv/.made
  fi
  echo "installing mailworkers with what it needs ($extras)"
  log=.venv/install.log
  rm -f "$marker.new"
  {
    .venv/bin/python -m pip install --disable-pip-version-check --no-input --progress-bar off \
      --editable ".[$extras]" 2>&1 && echo "$wanted" >"$marker.new"
  } | tee "$log" | show_progress
  if ! [ -e "$marker.new" ]; then
    tail -n 20 "$log" >&2
    echo "pip could not install mailworkers; all it said is in $log" >&2
    exit 1
  fi
  mv "$marker.new" "$marker"
}
