# Helpers of the scripts beside it; sourced, never run. Needs bash, python3 and the built binary,
# or another one that SKERRY_BIN names.

export LC_ALL=C
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
target=${CARGO_TARGET_DIR:-$root/target}
skerry=${SKERRY_BIN:-$target/debug/skerry}

say() { printf '%s: %s\n' "${0##*/}" "$*"; }
die() {
    printf '%s: %s\n' "${0##*/}" "$*" >&2
    exit 1
}

# quietly COMMAND…: shows what the command prints only if it fails.
quietly() {
    local output
    output=$("$@" 2>&1) || {
        printf '%s\n' "$output" >&2
        return 1
    }
}

# json EXPRESSION: evaluates Python on the JSON object `d` from standard input.
json() { python3 -c 'import json,sys; d=json.load(sys.stdin); print(eval(sys.argv[1]))' "$1"; }

# wait_for SECONDS WHAT COMMAND…: tries twice a second until the command succeeds.
wait_for() {
    local limit=$1 what=$2 start=$SECONDS
    shift 2
    until "$@" >/dev/null 2>&1; do
        ((SECONDS - start < limit)) || die "$what: not within $limit s"
        sleep 0.5
    done
}

# balance RPC ADDRESS: the account's `sker` in base units, proven against TRUST when that is set.
balance() {
    local proof=()
    [[ -z ${TRUST:-} ]] || proof=(--verify --trust "$TRUST")
    "$skerry" query account "$2" --rpc "$1" "${proof[@]}" --json |
        json 'next((b["amount"] for b in d["data"].get("balances", []) if b["denom"] in ("sker", "nsker")), "0")'
}

# send RPC KEY_FILE ADDRESS AMOUNT: one transfer; prints the reply, fails unless it succeeded.
send() {
    local reply
    # Under --json errors are in the reply; standard error only says how it goes on.
    reply=$("$skerry" tx send --rpc "$1" --key-file "$2" --to "$3" --amount "$4sker" \
        --wait-for returned --json 2>/dev/null) || {
        printf '%s\n' "$reply" >&2
        return 1
    }
    printf '%s\n' "$reply"
    [[ $(json 'd["data"]["stage"] + " " + d["data"]["outcome"]' <<<"$reply") == "RETURNED SUCCEEDED" ]]
}

# sker NSKER: base units for people.
sker() {
    local whole=${1:0:-9} part=000000000$1
    part=${part: -9}
    part=${part%"${part##*[!0]}"}
    printf '%s%s' "${whole:-0}" "${part:+.$part}"
}

# milliseconds SINCE: from that value of EPOCHREALTIME until now.
milliseconds() { printf '%s' "$(((${EPOCHREALTIME/./} - ${1/./}) / 1000))"; }

# transfer WHAT RPC KEY_FILE ADDRESS AMOUNT: sends and checks that exactly that much arrived.
transfer() {
    local what=$1 before after started took
    shift
    before=$(balance "$1" "$3")
    started=$EPOCHREALTIME
    send "$@" >/dev/null || die "$what: the transfer did not succeed"
    took=$(milliseconds "$started")
    after=$(balance "$1" "$3")
    ((after - before == $4 * 10 ** 9)) ||
        die "$what: the balance went from $before to $after nsker, not by $4 sker"
    say "$what: $4 sker arrived after $took ms; balance $(sker "$before") -> $(sker "$after") sker" \
        "${TRUST:+(proven)}"
}

# start_devnet DIR PORT_BASE: starts two shards and eight validators in one process, resuming what
# is in DIR. Sets `network` to its process, `ready` to the ready line, `rpc`, and `took` in ms.
start_devnet() {
    local dir=$1 started
    [[ -x $skerry ]] || die "$skerry is not built; run make build"
    mkdir -p "$dir"
    : >"$dir/ready.json"
    started=$EPOCHREALTIME
    "$skerry" devnet up --shards 2 --validators 8 --port-base "$2" --data-dir "$dir" --json \
        >"$dir/ready.json" 2>"$dir/devnet.log" &
    network=$!
    until grep -q '"ready":[ ]*true' "$dir/ready.json"; do
        if ! kill -0 "$network" 2>/dev/null; then
            network=
            die "the network ended: $(tail -n 20 "$dir/ready.json" "$dir/devnet.log")"
        fi
        (($(milliseconds "$started") < 60000)) || die "no ready line; see $dir/devnet.log"
        sleep 0.05
    done
    took=$(milliseconds "$started")
    ready=$(grep -m1 '"ready"' "$dir/ready.json")
    rpc=$(json 'd["grpc"]' <<<"$ready")
}

# stop_devnet: ends what start_devnet started, if it runs.
stop_devnet() {
    [[ -z ${network:-} ]] || ! kill -TERM "$network" 2>/dev/null || wait "$network" || true
    network=
}

# pick_accounts: reads lines `shard address key_file`, sets the sender, its neighbour in the same
# shard and a recipient in another one.
pick_accounts() {
    local picked
    sender_key='' neighbour='' stranger=''
    picked=$(python3 -c '
import sys
shards = {}
for line in sys.stdin:
    shard, address, key_file = line.split(None, 2)
    shards.setdefault(shard, []).append((address, key_file.strip()))
home = next(s for s in sorted(shards) if len(shards[s]) > 1)
away = [s for s in sorted(shards) if s != home]
print(shards[home][0][1])
print(shards[home][1][0])
print(shards[away[0]][0][0] if away else "")
') || die "no shard has two funded accounts"
    { read -r sender_key && read -r neighbour && read -r stranger; } <<<"$picked" || true
}

# accounts_of DIR SHARDS: the accounts that `genesis new` wrote, as lines for pick_accounts. The
# home shard is the top bits of the address (the first bits behind the separator of the bech32m).
accounts_of() {
    python3 - "$1" "$2" <<'PY'
import json, pathlib, sys
alphabet = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
depth = int(sys.argv[2]).bit_length() - 1
for path in sorted(pathlib.Path(sys.argv[1]).glob("*.json")):
    address = json.loads(path.read_text())["address"]
    data = address[address.rindex("1") + 1:]
    bits = "".join(format(alphabet.index(c), "05b") for c in data[:4])
    print(int(bits[:depth] or "0", 2), address, path)
PY
}

# free_ports COUNT: the first of so many free ports in a row.
free_ports() {
    python3 - "$1" <<'PY'
import os, socket, sys
def free(port):
    with socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            s.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
count = int(sys.argv[1])
# Below the range from which the kernel takes ports for outgoing connections.
first, last = 20000, 32000 - count
start = first + os.getpid() * 400 % (last - first)
for base in [*range(start, last, 100), *range(first, start, 100)]:
    if all(free(base + i) for i in range(count)):
        print(base)
        break
else:
    sys.exit("no free ports")
PY
}

# free_base: a --port-base whose network clashes with nothing (docs/ports.md has the layout).
free_base() { free_ports 320; }

# endpoint DIR grpc|http: the URL that the node with this home listens on, read from its settings.
endpoint() {
    python3 - "$1/config.toml" "$2" <<'PY'
import re, sys, tomllib
def leaves(value, path=""):
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from leaves(inner, path + "." + key)
    else:
        yield path, value
with open(sys.argv[1], "rb") as file:
    for path, value in leaves(tomllib.load(file)):
        found = re.search(r"(?:127\.0\.0\.1|0\.0\.0\.0|localhost):(\d+)", str(value))
        if sys.argv[2] in path and found:
            print("http://127.0.0.1:" + found[1])
            break
    else:
        sys.exit(f"{sys.argv[1]}: no address for {sys.argv[2]}")
PY
}

# find_compose: sets the array `compose` to the command; fails where there is none.
find_compose() {
    if command -v docker-compose >/dev/null; then
        compose=(docker-compose)
    elif docker compose version >/dev/null 2>&1; then
        compose=(docker compose)
    else
        return 1
    fi
}

# container SERVICE: the id of its container, running or not.
container() {
    "${compose[@]}" ps -a -q "$1" 2>/dev/null || "${compose[@]}" ps -q "$1"
}

is_healthy() {
    [[ $(docker inspect --format '{{.State.Health.Status}}' "$(container "$1")") == healthy ]]
}

# wait_healthy SERVICE…: until docker calls each of them healthy.
wait_healthy() {
    local service
    for service in "$@"; do
        wait_for 180 "$service healthy" is_healthy "$service"
    done
}
