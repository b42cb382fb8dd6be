# shellcheck shell=bash
# What the scripts share: Debian packages, and a throw-away PostgreSQL on a free port. Sourced, not run.

# Says something on stderr under the script's name.
say() { printf '%s: %s\n' "${0#./}" "$*" >&2; }

# Debian's path of PostgreSQL's server programs, newest first; empty where there is none.
postgres_programs() {
    local folder
    for folder in $(printf '%s\n' /usr/lib/postgresql/*/bin | sort -rV); do
        if [ -x "$folder/initdb" ]; then echo "$folder"; return; fi
    done
}

# Installs what is missing, as root on Debian; elsewhere says what will be skipped.
bring() {
    local missing=()
    [ -n "${RELAYWATCH_TEST_POSTGRES:-}" ] || [ -n "$(postgres_programs)" ] || missing+=(postgresql)
    command -v cc >/dev/null || missing+=(gcc libc6-dev)
    [ "${#missing[@]}" -gt 0 ] || return 0
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        say "installing ${missing[*]}"
        # The package would start a cluster of its own; this script starts a throw-away one instead.
        mkdir -p /etc/postgresql-common
        [ -e /etc/postgresql-common/createcluster.conf ] ||
            echo 'create_main_cluster = false' > /etc/postgresql-common/createcluster.conf
        apt-get update -qq >&2
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >&2
    elif [ "${CI:-}" = true ]; then
        say "missing ${missing[*]}, and no right to install them"
        exit 1
    else
        say "missing ${missing[*]}: the tests that need them will name themselves skipped"
    fi
}

work=$(mktemp -d)
server=
cleanup() {
    local code=$?
    if [ -n "$server" ]; then
        as_postgres "$programs/pg_ctl" -D "$work/postgres" -m immediate -w stop >/dev/null 2>&1 || true
    fi
    rm -rf "$work"
    exit "$code"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

# PostgreSQL refuses to run as root.
as_postgres() {
    if [ "$(id -u)" = 0 ]; then setpriv --reuid=postgres --regid=postgres --init-groups "$@"; else "$@"; fi
}

# A port on which nobody listens.
free_port() {
    local port
    while :; do
        port=$((20000 + RANDOM % 20000))
        if ! (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then echo "$port"; return; fi
    done
}

# Starts it, unless RELAYWATCH_TEST_POSTGRES names one, and exports that variable.
start_postgres() {
    [ -z "${RELAYWATCH_TEST_POSTGRES:-}" ] || return 0
    programs=$(postgres_programs)
    [ -n "$programs" ] || return 0
    local port
    port=$(free_port)
    chmod 711 "$work"
    mkdir "$work/postgres" "$work/run"
    [ "$(id -u)" != 0 ] || chown postgres: "$work/postgres" "$work/run"
    as_postgres "$programs/initdb" -D "$work/postgres" -U relaywatch -A trust -E UTF8 --locale=C >/dev/null
    # Durable as in production: what the tests acknowledge has to survive.
    cat >> "$work/postgres/postgresql.conf" <<CONF
listen_addresses = '127.0.0.1'
port = $port
unix_socket_directories = '$work/run'
max_connections = 200
fsync = on
CONF
    server=started
    as_postgres "$programs/pg_ctl" -D "$work/postgres" -l "$work/postgres/log" -w start >/dev/null
    export RELAYWATCH_TEST_POSTGRES="postgres://relaywatch@127.0.0.1:$port/postgres"
}
