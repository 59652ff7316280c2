#!/usr/bin/env bash
# Real processes on loopback: the demonstration of `make devnet`, then four validators whose seats
# are fixed at 3, 3, 2 and 1. Their shard survives the loss of two seats, stops without three, says
# so, and goes on; all are killed at once and lose nothing; the stopped stores agree.
set -euo pipefail
source "$(dirname "$0")/lib.sh"

[[ -x $skerry ]] || die "$skerry is not built; run make build"
scratch=$(mktemp -d)
declare -A running=()
finish() {
    local status=$? name
    trap - EXIT
    for name in "${!running[@]}"; do
        kill -KILL "${running[$name]}" 2>/dev/null || true
    done
    if [[ $status -ne 0 ]]; then
        for name in "$scratch"/*.log; do
            [[ -f $name ]] && echo "== ${name##*/}" && tail -n 20 "$name"
        done
    fi
    rm -rf "$scratch"
    exit "$status"
}
trap finish EXIT
trap 'exit 130' INT TERM

net=$scratch/net
start() {
    "$skerry" node start --home "$net/$1" --data-dir "$scratch/data/$1" \
        --genesis "$net/genesis.json" >>"$scratch/$1.log" 2>&1 &
    running[$1]=$!
}
end() { # end SIGNAL NAME…
    local signal=$1 name
    shift
    for name in "$@"; do
        kill "-$signal" "${running[$name]}"
    done
    for name in "$@"; do
        wait "${running[$name]}" 2>/dev/null || true
        unset "running[$name]"
    done
}
is_ready() { "$skerry" node status --ready --http "$(endpoint "$net/$1" http)"; }
is_not_ready() { ! is_ready "$1"; }
holds() { [[ $(balance "$rpc" "$1") == "$2" ]]; }
all_ready() {
    local name
    for name in v0 v1 v2 v3; do
        wait_for 90 "$name ready" is_ready "$name"
    done
}

"$root/scripts/devnet-demo.sh" --once --port-base "$(free_base 64)" --data-dir "$scratch/devnet"

"$skerry" genesis new --shards 1 --validators 4 --seats 3,3,2,1 --out "$net" \
    --port-base "$(free_base 64)" >/dev/null
mkdir "$scratch/data"
for name in v0 v1 v2 v3; do
    start "$name"
done
all_ready
rpc=$(endpoint "$net/v3" grpc)
TRUST=$net/genesis.json
accounts=$(accounts_of "$net/accounts" 1)
pick_accounts <<<"$accounts"
transfer "all nine seats" "$rpc" "$sender_key" "$neighbour" 1

end KILL v2
transfer "seven of nine seats" "$rpc" "$sender_key" "$neighbour" 1
start v2
wait_for 90 "v2 ready again" is_ready v2
say "v2 was killed, came back and caught up"

end KILL v0
before=$(balance "$rpc" "$neighbour")
"$skerry" tx send --rpc "$rpc" --key-file "$sender_key" --to "$neighbour" --amount 1sker \
    --wait-for received --json >/dev/null
sleep 10
holds "$neighbour" "$before" || die "six of nine seats finalized a transfer"
wait_for 60 "a stopped shard is reported as not ready" is_not_ready v3
start v0
wait_for 90 "the waiting transfer final" holds "$neighbour" "$((before + 1000000000))"
all_ready
say "six of nine seats stopped, said so, and went on with the third validator back"

before=$(balance "$rpc" "$neighbour")
end KILL v0 v1 v2 v3
for name in v0 v1 v2 v3; do
    start "$name"
done
all_ready
holds "$neighbour" "$before" || die "a final balance changed when all were killed"
transfer "after all were killed" "$rpc" "$sender_key" "$neighbour" 1

end TERM v0 v1 v2 v3
"$skerry" db verify "$scratch"/data/v{0,1,2,3}
say "passed"
