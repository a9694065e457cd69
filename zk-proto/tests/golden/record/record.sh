#!/bin/bash
# Records all exchanges anew.
#
#     record.sh [DIRECTORY]        default: the directory above this script
#
# Needs: Debian's packages zookeeper (for its jars) and a JDK (17), python3 with
# venv, and pip for kazoo, or PYTHON=... naming a python that has kazoo 2.11.
# Servers run in a temporary directory, on free ports of 127.0.0.1, and are
# stopped at the end. ONLY="java-multi kazoo-guide" limits what is recorded.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
out=$(cd "${1:-$here/..}" && pwd)
jars=${ZOOKEEPER_CLASSPATH:-/usr/share/java/zookeeper.jar}
tmp=$(mktemp -d)
cleanup() { # end the servers, which are the only jobs of this shell
    local pid
    for pid in $(jobs -pr); do
        kill "$pid"
        wait "$pid" || true
    done
    rm -rf "$tmp"
}
trap cleanup EXIT

# ---- servers ----

free_ports() { # N: that many ports, free just now
    python3 - "$1" <<'END'
import socket, sys
sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(int(sys.argv[1]))]
print(*(s.getsockname()[1] for s in sockets))
END
}

ask() { # PORT WORD: the answer to a four-letter word
    { exec 3<>"/dev/tcp/127.0.0.1/$1" && printf %s "$2" >&3 && timeout 2 cat <&3; } 2>/dev/null || true
}

wait_for() { # PORT WORD TEXT
    for _ in $(seq 150); do
        [[ $(ask "$1" "$2") == *"$3"* ]] && return
        sleep 0.2
    done
    echo "the server at port $1 does not say '$3'" >&2
    exit 1
}

serve() { # NAME [-Dproperty=value...]: a server with $tmp/NAME.cfg
    local name=$1
    shift
    mkdir -p "$tmp/$name"
    {
        echo "dataDir=$tmp/$name"
        echo "tickTime=2000"
        echo "admin.enableServer=false"
        echo "4lw.commands.whitelist=srvr,isro"
    } >>"$tmp/$name.cfg"
    java -Xmx128m "$@" -cp "$jars" org.apache.zookeeper.server.quorum.QuorumPeerMain \
        "$tmp/$name.cfg" >"$tmp/$name.log" 2>&1 &
}

# ---- recording ----

record() { # FILE SERVER-PORT TITLE COMMAND...
    local file=$1 port=$2 title=$3
    shift 3
    [[ -z ${ONLY:-} || " $ONLY " == *" $file "* ]] || return 0
    echo "$file"
    python3 "$here/proxy.py" --server "127.0.0.1:$port" --out "$out/$file.frames" --title "$title" -- "$@"
}

java_client() { # SERVER-PORT NAME TITLE [ARGUMENT]
    record "java-$2" "$1" "ZooKeeper 3.8.0 Java client, ZooKeeper 3.8.0 server: $3" \
        java -Djava.security.auth.login.config="$jaas" -Dzookeeper.sasl.client="${sasl:-false}" \
        -cp "$jars" "$here/Exchange.java" PROXY "127.0.0.1:$1" "$2" ${4:+"$4"} 2> >(grep -v ^SLF4J >&2)
}

kazoo_client() { # SERVER-PORT NAME TITLE
    record "kazoo-$2" "$1" "kazoo 2.11.0, ZooKeeper 3.8.0 server: $3" \
        "$python" "$here/exchange.py" PROXY "$2"
}

python=${PYTHON:-$tmp/venv/bin/python}
if [[ -z ${PYTHON:-} ]]; then
    python3 -m venv "$tmp/venv"
    "$tmp/venv/bin/pip" install --quiet kazoo==2.11.0
fi

jaas=$tmp/jaas.conf
cat >"$jaas" <<'END'
Server { org.apache.zookeeper.server.auth.DigestLoginModule required user_user="secret"; };
Client { org.apache.zookeeper.server.auth.DigestLoginModule required username="user" password="secret"; };
Wrong { org.apache.zookeeper.server.auth.DigestLoginModule required username="user" password="wrong"; };
END

# A server on its own, with extended types (TTL nodes), enforced quotas, and SASL for who wants it.
read -r port sasl_port < <(free_ports 2)
printf 'clientPort=%s\nclientPortAddress=127.0.0.1\n' "$port" >"$tmp/single.cfg"
sasl_options=(-Djava.security.auth.login.config="$jaas"
    -Dzookeeper.authProvider.1=org.apache.zookeeper.server.auth.SASLAuthenticationProvider)
serve single "${sasl_options[@]}" -Dzookeeper.extendedTypesEnabled=true -Dzookeeper.enforceQuota=true
wait_for "$port" srvr "Mode: standalone"

java_client "$port" connect "new sessions, pings, whoAmI, sync, closeSession, the readOnly flag"
java_client "$port" create "create in all modes, delete"
java_client "$port" data "exists, getData, setData, sync, pipelined requests"
java_client "$port" acl "ACLs of all schemes, getACL, setACL, NoAuth"
java_client "$port" auth "addAuth, good and bad"
java_client "$port" children "getChildren, getChildren2, getAllChildrenNumber, getEphemerals"
java_client "$port" multi "multi"
java_client "$port" multiread "multiRead"
java_client "$port" watches "one-shot watches and their events"
java_client "$port" addwatch "addWatch, persistent and recursive, and events"
java_client "$port" removewatches "checkWatches and removeWatches"
java_client "$port" resume "a session resumed, auth and setWatches, events made up for"
java_client "$port" resume2 "a session resumed, auth and setWatches2, events made up for"
java_client "$port" expired "expired sessions"
java_client "$port" errors "error replies"
java_client "$port" raw "odd requests that the client's methods do not send"
sasl=true java_client "$port" sasl-wrong "SASL DIGEST-MD5 with a wrong password, where SASL is not demanded"
kazoo_client "$port" guide "the steps of kazoo's guide"
kazoo_client "$port" resume "a connection cut and resumed"
kazoo_client "$port" edge "odd names, and a client ahead of its server"
record raw-socket "$port" "a plain socket, ZooKeeper 3.8.0 server: what neither client sends" \
    python3 "$here/raw.py" PROXY

# A server that demands SASL.
printf 'clientPort=%s\nclientPortAddress=127.0.0.1\n' "$sasl_port" >"$tmp/sasl.cfg"
serve sasl "${sasl_options[@]}" -Dzookeeper.enforce.auth.enabled=true -Dzookeeper.enforce.auth.schemes=sasl
wait_for "$sasl_port" srvr "Mode: standalone"
sasl=true java_client "$sasl_port" sasl "SASL DIGEST-MD5 where it is demanded: good, bad, none"

# Three servers, with reconfig and read-only mode, without extended types.
read -r -a p < <(free_ports 9)
super=super:$(printf super:secret | python3 -c \
    'import base64, hashlib, sys; print(base64.b64encode(hashlib.sha1(sys.stdin.buffer.read()).digest()).decode())')
ensemble() { # the configuration of three servers with the ports p
    printf 'initLimit=5\nsyncLimit=2\nreconfigEnabled=true\nstandaloneEnabled=false\n'
    for j in 0 1 2; do
        echo "server.$((j + 1))=127.0.0.1:${p[3 * j]}:${p[3 * j + 1]}:participant;127.0.0.1:${p[3 * j + 2]}"
    done
}
member() { # NAME ID: one of them
    mkdir -p "$tmp/$1"
    echo "$2" >"$tmp/$1/myid"
    serve "$1" -Dreadonlymode.enabled=true -Dzookeeper.DigestAuthenticationProvider.superDigest="$super"
}
for i in 1 2 3; do
    ensemble >"$tmp/member$i.cfg"
    if ((i == 3)); then echo localSessionsEnabled=true >>"$tmp/member$i.cfg"; fi
    member "member$i" $i
    members[i]=$!
done
for i in 2 5 8; do wait_for "${p[i]}" srvr "Mode: "; done
java_client "${p[2]}" reconfig "reconfig in an ensemble of three"
java_client "${p[2]}" moved "a session that moved to another server" "127.0.0.1:${p[5]}"
java_client "${p[8]}" local "a local session"

# Its first server alone, with a session from before.
session=$(java -cp "$jars" "$here/Exchange.java" - "127.0.0.1:${p[2]}" session 2>/dev/null)
kill "${members[2]}" "${members[3]}"
wait_for "${p[2]}" isro ro
java_client "${p[2]}" readonly "refused by a read-only server" "$session"

# One of three servers, the others never run, with local sessions.
read -r -a p < <(free_ports 9)
{
    ensemble
    echo localSessionsEnabled=true
} >"$tmp/lonely.cfg"
member lonely 1
wait_for "${p[2]}" isro ro
java_client "${p[2]}" readonly-local "a read-only server, a local session"

python3 "$here/coverage.py" --update "$out/README.md" "$out"
