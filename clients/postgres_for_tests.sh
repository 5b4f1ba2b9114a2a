#!/bin/sh
# A PostgreSQL server of its own for tests, in a temporary folder, reached by a Unix socket only. It prints
# `ready <URL>` once it answers, and ends, taking its folder along, when its standard input is closed: so it ends with
# whoever started it, however that ends. A line on its standard input starts it again after it was killed, and is answered
# with the same `ready` line. PostgreSQL does not run as root: then it runs as `postgres` or `nobody`.
#
# With a certificate and its key in SYNCLINE_PG_CERTIFICATE and SYNCLINE_PG_KEY (PEM) it speaks TLS, too, on the port
# SYNCLINE_PG_PORT of 127.0.0.1.
#
# What it commits reaches the disk only with SYNCLINE_PG_FSYNC=on. SYNCLINE_PG_BUFFERS is how much of its files it keeps in
# memory itself, 64MB unless given.
#
# Usage: postgres_for_tests.sh [<folder of PostgreSQL's programs>]
# Exit status 3: no PostgreSQL is installed that is new enough.
set -eu

oldest=15
bin=${1:-}
if [ -z "$bin" ]; then
    found=0
    for candidate in /usr/lib/postgresql/*/bin /usr/pgsql-*/bin /usr/local/pgsql/bin /opt/homebrew/opt/postgresql*/bin \
        "$(dirname "$(command -v postgres || echo /nowhere/postgres)")"; do
        [ -x "$candidate/initdb" ] && [ -x "$candidate/pg_ctl" ] || continue
        version=$("$candidate/postgres" --version | sed 's/^[^0-9]*\([0-9]*\).*/\1/')
        if [ "$version" -ge "$oldest" ] && [ "$version" -gt "$found" ]; then
            found=$version bin=$candidate
        fi
    done
fi
if [ -z "$bin" ]; then
    echo "no PostgreSQL $oldest or newer is installed" >&2
    exit 3
fi

if [ "$(id -u)" = 0 ]; then
    # As text, because that user may not be let into the folder of this file.
    text=$(cat "$0")
    cd /
    for user in postgres nobody; do
        id -u "$user" >/dev/null 2>&1 || continue
        exec setpriv --reuid="$(id -u "$user")" --regid="$(id -g "$user")" --clear-groups -- sh -c "$text" sh "$bin"
    done
    echo "PostgreSQL does not run as root, and there is neither a user postgres nor a user nobody" >&2
    exit 1
fi

umask 077
# Short, because the name of a socket has at most 107 bytes.
folder=$(mktemp -d /tmp/syncline-pg-XXXXXX)
trap 'rm -rf "$folder"' EXIT
export LC_ALL=C HOME="$folder"
"$bin/initdb" --pgdata="$folder/data" --username=syncline --auth=trust --encoding=UTF8 --no-locale --no-sync \
    --no-instructions >"$folder/log" 2>&1 || { cat "$folder/log" >&2; exit 1; }
cat >>"$folder/data/postgresql.conf" <<EOF
listen_addresses = ''
unix_socket_directories = '$folder'
max_connections = 400
# Unless somebody measures, what is lost in a crash of the machine is lost with the tests.
fsync = ${SYNCLINE_PG_FSYNC:-off}
full_page_writes = ${SYNCLINE_PG_FSYNC:-off}
shared_buffers = ${SYNCLINE_PG_BUFFERS:-64MB}
max_wal_size = 256MB
# Whoever measures has the statistics that a server has after its first minute.
autovacuum = ${SYNCLINE_PG_FSYNC:-off}
autovacuum_naptime = 2s
log_min_messages = fatal
EOF
if [ -n "${SYNCLINE_PG_CERTIFICATE:-}" ]; then
    echo "$SYNCLINE_PG_CERTIFICATE" >"$folder/data/server.crt"
    echo "$SYNCLINE_PG_KEY" >"$folder/data/server.key"
    cat >>"$folder/data/postgresql.conf" <<EOF
ssl = on
listen_addresses = '127.0.0.1'
port = $SYNCLINE_PG_PORT
EOF
    port="&port=$SYNCLINE_PG_PORT"
fi
chmod 755 "$folder"
start() {
    "$bin/pg_ctl" --pgdata="$folder/data" --log="$folder/log" --wait --silent start </dev/null >/dev/null \
        || { cat "$folder/log" >&2; exit 1; }
    echo "ready postgres://syncline@/postgres?host=$folder${port:-}"
}
trap '"$bin/pg_ctl" --pgdata="$folder/data" --mode=immediate --silent stop >/dev/null 2>&1; rm -rf "$folder"' EXIT
trap 'exit 0' HUP INT TERM
start
# Until the standard input is closed.
while read -r _; do
    start
done
