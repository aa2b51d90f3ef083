# shellcheck shell=bash
# All parts, in an order in which none needs a later one; HERE is the directory of the scripts.

# Releases are looked at from wherever the operator stands, often in another tree of the same product:
# Python must take neither that nor a path of the operator's for the release.
unset PYTHONPATH PYTHONHOME
export PYTHONSAFEPATH=1

# shellcheck source=parts/speaking.sh
. "$HERE/parts/speaking.sh"
# shellcheck source=parts/places.sh
. "$HERE/parts/places.sh"
# shellcheck source=parts/settings.sh
. "$HERE/parts/settings.sh"
# shellcheck source=parts/services.sh
. "$HERE/parts/services.sh"
# shellcheck source=parts/releases.sh
. "$HERE/parts/releases.sh"
# shellcheck source=parts/gates.sh
. "$HERE/parts/gates.sh"
# shellcheck source=parts/stores.sh
. "$HERE/parts/stores.sh"
# shellcheck source=parts/host_files.sh
. "$HERE/parts/host_files.sh"
# shellcheck source=parts/backups.sh
. "$HERE/parts/backups.sh"
# shellcheck source=parts/restoring.sh
. "$HERE/parts/restoring.sh"
# shellcheck source=parts/comparing.sh
. "$HERE/parts/comparing.sh"
