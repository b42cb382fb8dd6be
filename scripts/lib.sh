# shellcheck shell=bash
# What the scripts share: Debian packages, a throw-away PostgreSQL and a throw-away SQS on free ports. Sourced, not run.

# Says something on stderr under the script's name.
say() { printf '%s: %s\n' "${0#./}" "$*" >&2; }

# Debian's path of PostgreSQL's server programs, newest first; empty where there is none.
postgres_programs() {
    local folder
    for folder in $(printf '%s\n' /usr/lib/postgresql/*/bin | sort -rV); do
        if [ -x "$folder/initdb" ]; then echo "$folder"; return; fi
    done
}

# Debian's packages start what they bring. This one refuses it, while they are installed, where nothing else does; `cleanup`
# takes it away where that is broken off.
no_services() {
    local policy=/usr/sbin/policy-rc.d
    if [ ! -e "$policy" ]; then
        refused_by=$policy
        printf '#!/bin/sh\nexit 101\n' > "$policy"
        chmod 755 "$policy"
    fi
}

# Takes that away again.
services_again() {
    [ -z "$refused_by" ] || rm -f "$refused_by"
    refused_by=
}

# The packages that the mail feed's tests lack: a real mail server, and swaks with what it shakes hands by.
mail_needs() {
    [ -x /usr/sbin/postfix ] || echo postfix
    command -v swaks >/dev/null || echo swaks
    perl -MNet::SSLeay -e1 2>/dev/null || echo libnet-ssleay-perl
}

# The package that the canaries' tests lack: a real IMAP server.
canary_needs() {
    [ -x /usr/sbin/dovecot ] || echo dovecot-imapd
    command -v openssl >/dev/null || echo openssl
}

# Installs what is missing, the packages named as well, as root on Debian; elsewhere says what will be skipped.
bring() {
    local missing=()
    [ -n "${RELAYWATCH_TEST_POSTGRES:-}" ] || [ -n "$(postgres_programs)" ] || missing+=(postgresql)
    command -v cc >/dev/null || missing+=(gcc libc6-dev)
    [ "$#" = 0 ] || missing+=("$@")
    [ "${#missing[@]}" -gt 0 ] || return 0
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        say "installing ${missing[*]}"
        # The package would start a cluster of its own; this script starts a throw-away one instead.
        mkdir -p /etc/postgresql-common
        [ -e /etc/postgresql-common/createcluster.conf ] ||
            echo 'create_main_cluster = false' > /etc/postgresql-common/createcluster.conf
        # Postfix would be set up for the whole machine; the tests run instances of their own from folders of their own.
        no_services
        echo 'postfix postfix/main_mailer_type select No configuration' | debconf-set-selections
        apt-get update -qq >&2
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >&2
        services_again
    elif [ "${CI:-}" = true ]; then
        say "missing ${missing[*]}, and no right to install them"
        exit 1
    else
        say "missing ${missing[*]}: the tests that need them will name themselves skipped"
    fi
}

work=$(mktemp -d)
server=
sqs=
refused_by=
cleanup() {
    local code=$?
    services_again
    [ -z "$sqs" ] || kill "$sqs" 2>/dev/null || true
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

# What speaks SQS and SNS in the tests: moto (Apache-2.0), in an environment of its own that is made once.
moto_version=5.2.5
moto_home=target/tools/moto-$moto_version

# The SPF evaluator that ours is compared with: pyspf (Python Software Foundation licence), in an environment of its own.
pyspf_version=2.0.14
pyspf_home=target/tools/pyspf-$pyspf_version

# The Debian packages without which moto or pyspf can't be installed.
python_needs() {
    if [ -n "${RELAYWATCH_TEST_SQS:-}" ] || [ -e "$moto_home/installed" ]; then
        [ -z "${RELAYWATCH_TEST_PYSPF:-}" ] && [ ! -e "$pyspf_home/installed" ] || return 0
    fi
    python3 -c 'import ensurepip, venv' 2>/dev/null || echo python3-venv
}

# Makes pyspf's environment, unless RELAYWATCH_TEST_PYSPF names a Python that has it, and exports that variable.
bring_pyspf() {
    [ -z "${RELAYWATCH_TEST_PYSPF:-}" ] || return 0
    if [ ! -e "$pyspf_home/installed" ]; then
        mkdir -p "$pyspf_home"
        (
            flock 9
            [ ! -e "$pyspf_home/installed" ] || exit 0
            say "installing pyspf $pyspf_version into $pyspf_home"
            python3 -m venv --clear "$pyspf_home/venv" >&2 &&
                "$pyspf_home/venv/bin/pip" install --quiet --disable-pip-version-check \
                    "pyspf==$pyspf_version" dnspython==2.8.0 &&
                touch "$pyspf_home/installed"
        ) 9>"$pyspf_home/lock" || true
    fi
    if [ ! -e "$pyspf_home/installed" ]; then
        [ "${CI:-}" != true ] || { say "pyspf can't be installed"; exit 1; }
        say "pyspf can't be installed: the comparison with it will name itself skipped"
        return 0
    fi
    RELAYWATCH_TEST_PYSPF=$PWD/$pyspf_home/venv/bin/python
    export RELAYWATCH_TEST_PYSPF
}

# Makes that environment; two scripts at a time wait for each other.
bring_moto() {
    [ ! -e "$moto_home/installed" ] || return 0
    python3 -c 'import ensurepip, venv' 2>/dev/null || return 1
    mkdir -p "$moto_home"
    (
        flock 9
        [ ! -e "$moto_home/installed" ] || exit 0
        say "installing moto $moto_version into $moto_home"
        python3 -m venv --clear "$moto_home/venv" >&2 &&
            "$moto_home/venv/bin/pip" install --quiet --disable-pip-version-check \
                --constraint scripts/moto-constraints.txt "moto[sns,sqs]==$moto_version" flask flask-cors >&2 &&
            touch "$moto_home/installed"
    ) 9>"$moto_home/lock"
}

# Starts it, unless RELAYWATCH_TEST_SQS names one, and exports that variable, and credentials that are good nowhere else.
start_sqs() {
    export AWS_ACCESS_KEY_ID=test AWS_SECRET_ACCESS_KEY=test
    [ -z "${RELAYWATCH_TEST_SQS:-}" ] || return 0
    if ! bring_moto; then
        [ "${CI:-}" != true ] || { say "moto can't be installed"; exit 1; }
        say "moto can't be installed: the tests of queues will name themselves skipped"
        return 0
    fi
    local port tries
    port=$(free_port)
    "$moto_home/venv/bin/python" -m moto.server -H 127.0.0.1 -p "$port" >"$work/moto.log" 2>&1 &
    sqs=$!
    for tries in {1..300}; do
        if (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
            export RELAYWATCH_TEST_SQS="http://127.0.0.1:$port"
            return 0
        fi
        kill -0 "$sqs" 2>/dev/null || break
        sleep 0.1
    done
    say "moto does not start after $tries looks:"
    cat "$work/moto.log" >&2
    exit 1
}
