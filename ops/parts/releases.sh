# shellcheck shell=bash
# Releases: virtual environments beside each other, `current` a link to one of them.
#
# A virtual environment cannot be moved, so it is made where it stays; the file `complete` in it is
# written last, and what lacks it is no release.

SOURCE_PARTS=(mailworkers sql templates ops docs setup.cfg pyproject.toml supervisord.conf README.md LICENSE)

# check_source SOURCE: a tree of the product, a wheel of it, or a release of this host.
check_source() {
  case $1 in *.whl) return ;; esac
  if [ -e "$1/setup.cfg" ] && [ -d "$1/mailworkers" ] || [ -e "$1/complete" ]; then return; fi
  fail "$1 is no tree of mailworkers and no wheel" "name one by --source"
}

# digest_of SOURCE: what tells two sources apart, be it a tree or a wheel.
digest_of() {
  if [ -e "$1/complete" ]; then
    note_of "$1" digest
    return
  fi
  if [ -f "$1" ]; then
    sha256sum <"$1" | cut -c1-64
    return
  fi
  (
    cd "$1" || exit
    find "${SOURCE_PARTS[@]}" -type f ! -name '*.pyc' -print0 2>/dev/null | LC_ALL=C sort -z |
      xargs -0 sha256sum | sha256sum | cut -c1-64
  )
}

# note_of RELEASE NAME: prints a line of what was noted when the release was made.
note_of() {
  sed -n "s/^$2=//p" "$1/complete" 2>/dev/null
}

# Prints the release a link leads to, whole; nothing where there is none.
release_at() {
  local found
  found=$(readlink -f "$1" 2>/dev/null) || return 0
  if [ -e "$found/complete" ]; then echo "$found"; fi
}

# Prints all complete releases, oldest first: their names begin with the time they were made.
list_releases() {
  local marker
  for marker in "$RELEASES"/*/complete; do
    if [ -e "$marker" ]; then dirname "$marker"; fi
  done
}

# Parts of the product that are installed only where they are wanted: templates, otlp.
EXTRAS=${EXTRAS-templates}

# build_release SOURCE [PIP OPTION...]: makes a release of a tree or wheel; NEW_RELEASE is its path.
build_release() {
  local source=$1 digest started
  shift
  digest=$(digest_of "$source")
  started=$(date -u +%Y%m%dT%H%M%SZ)
  NEW_RELEASE=$(find_release "$digest")
  if [ -n "$NEW_RELEASE" ]; then
    say "this release was made before: $NEW_RELEASE"
    return
  fi
  NEW_RELEASE=$RELEASES/$started-${digest:0:8}
  say "making the release $NEW_RELEASE"
  if [ "$DRY_RUN" = yes ]; then return; fi
  remove_incomplete
  (
    umask 022
    unset VIRTUAL_ENV
    python3 -m venv "$NEW_RELEASE"
    install_into "$NEW_RELEASE" "$source" "$@"
    carry_files "$NEW_RELEASE" "$source"
  ) || {
    rm -rf "$NEW_RELEASE"
    fail "the release could not be made; nothing was changed" \
      "look at the lines above: without an index give --wheelhouse DIR with all wheels"
  }
  {
    echo "digest=$digest"
    echo "version=$("$NEW_RELEASE/bin/mailworkers" --version | awk '{print $NF}')"
    echo "made_at=$started"
    echo "extras=$EXTRAS"
  } >"$NEW_RELEASE/complete"
}

# find_release DIGEST: prints one made of the same source with the same extras, whose Python still runs.
find_release() {
  local release
  [ "${REBUILD:-no}" = no ] || return 0
  while IFS= read -r release; do
    if [ "$(note_of "$release" digest) $(note_of "$release" extras)" = "$1 $EXTRAS" ] &&
      "$release/bin/python" -c 'import mailworkers' 2>/dev/null; then
      echo "$release"
      return
    fi
  done < <(list_releases)
}

# install_into RELEASE SOURCE [PIP OPTION...]: the source is copied first, building leaves files in it.
install_into() {
  local release=$1 source=$2 copy=$WORK/source
  shift 2
  rm -rf "$copy"
  mkdir "$copy"
  if [ -d "$source" ]; then
    tar -C "$source" --exclude='*.pyc' --exclude=__pycache__ -cf - "${SOURCE_PARTS[@]}" | tar -C "$copy" -xf -
    source=$copy
  else
    cp "$source" "$copy"
    source=$copy/${source##*/}
  fi
  "$release/bin/python" -m pip install --quiet --disable-pip-version-check --no-input \
    --progress-bar off "$@" "mailworkers${EXTRAS:+[$EXTRAS]} @ file://$source" >"$WORK/pip" 2>&1 || {
    tail -n 30 "$WORK/pip" >&2
    return 1
  }
}

# The scripts and the documents of a release stay with it; a wheel has none, then those here are taken.
carry_files() {
  local release=$1 source=$2
  [ -d "$source" ] || source=$HERE/..
  rm -rf "$release/ops" "$release/docs"
  cp -r "$source/ops" "$release/ops"
  cp -r "$source/docs" "$release/docs"
  chmod -R go+rX "$release/ops" "$release/docs"
}

# switch_to RELEASE: from one moment to the next `current` is another; what it was is `previous`.
switch_to() {
  local target=$1 before
  before=$(release_at "$CURRENT")
  if [ "$before" = "$target" ]; then return; fi
  if [ -n "$before" ]; then point "$PREVIOUS" "$before"; fi
  point "$CURRENT" "$target"
}

point() {
  if [ "$DRY_RUN" = yes ]; then
    printf 'would point: %s -> %s\n' "$1" "$2"
    return
  fi
  ln -sfn "$2" "$1.new"
  mv -T "$1.new" "$1"
}

remove_incomplete() {
  local found
  for found in "$RELEASES"/*/; do
    if [ -d "$found" ] && ! [ -e "$found/complete" ]; then
      say "removing what an interrupted run left: $found"
      rm -rf "$found"
    fi
  done
}

# prune_releases KEEP: removes the oldest; never current, previous, nor what supervisord runs from.
prune_releases() {
  local keep=$1 release in_use
  in_use=$(releases_in_use)
  list_releases | head -n "-$keep" | while IFS= read -r release; do
    if ! grep -qxF "$release" <<<"$in_use"; then
      say "removing the old release $release"
      run rm -rf "$release"
    fi
  done
}

releases_in_use() {
  local pid
  release_at "$CURRENT"
  release_at "$PREVIOUS"
  pid=$(supervisord_pid)
  if [ -n "$pid" ]; then release_of_process "$pid"; fi
}

# Prints the release whose files a supervisord was started with.
release_of_process() {
  tr '\0' '\n' <"/proc/$1/cmdline" 2>/dev/null | sed -n "s|^\($RELEASES/[^/]*\)/share/.*|\1|p" | head -n 1
}

# check_way_back OLD NEW: expand, then contract. As long as the schema of the new release still carries
# the old one's code there is a way back.
check_way_back() {
  if [ "$("$2/bin/python" -c "$OLDEST_CODE")" -le "$("$1/bin/python" -c "$CODE_LEVEL")" ]; then return; fi
  fail "the present release could not run on the new schema: there would be no way back" \
    "go to a release in between first, or accept that: --one-way"
}

CODE_LEVEL='from mailworkers.adapters.db import CODE_LEVEL; print(CODE_LEVEL)'
OLDEST_CODE='
import re
from mailworkers.adapters.db import SQL_DIRECTORY

row = re.compile(r"INTO schema_versions \(version, oldest_code\)\s+VALUES \(\d+, (\d+)\)")
texts = [path.read_text() for path in (SQL_DIRECTORY / "migrations").glob("*.sql")]
print(max(int(found) for text in texts for found in row.findall(text)))
'

# needs_new_supervisord OLD NEW: whether what supervisord itself has read or loaded has changed.
needs_new_supervisord() {
  local old=$1 new=$2
  ! cmp -s "$old/share/mailworkers/supervisord.conf" "$new/share/mailworkers/supervisord.conf" ||
    [ "$("$old/bin/python" -c "$SUPERVISOR_PARTS")" != "$("$new/bin/python" -c "$SUPERVISOR_PARTS")" ]
}

SUPERVISOR_PARTS='
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from mailworkers.adapters import supervisor_files, supervisor_plugin
print(version("supervisor"))
for module in (supervisor_files, supervisor_plugin):
    print(sha256(Path(module.__file__).read_bytes()).hexdigest())
'
