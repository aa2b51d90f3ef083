# shellcheck shell=bash
# shellcheck disable=SC2034
# Where everything lies on a host, for whoever sources this. MAILWORKERS_ROOT puts it all below another directory: for tests.

ROOT=${MAILWORKERS_ROOT:-}
ACCOUNT=${MAILWORKERS_ACCOUNT:-mailworkers}

APP=$ROOT/opt/mailworkers
RELEASES=$APP/releases
CURRENT=$APP/current
PREVIOUS=$APP/previous
UNFINISHED=$APP/unfinished-upgrade

CONF=$ROOT/etc/mailworkers
SETTINGS=$CONF/env
MANAGER=$CONF/service-manager

STATE=$ROOT/var/lib/mailworkers
LOGS=$ROOT/var/log/mailworkers
SUPERVISE_LOG=$ROOT/var/log/mailworkers-supervise.log
BACKUPS=$ROOT/var/backups/mailworkers

UNITS=$ROOT/etc/systemd/system
LOGROTATE=$ROOT/etc/logrotate.d/mailworkers
COMPLETION=$ROOT/usr/share/bash-completion/completions/mailworkers
COMMAND=$ROOT/usr/local/bin/mailworkers
