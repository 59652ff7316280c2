#!/usr/bin/env bash
# The network of `make devnet` as a user meets it: the demonstration, then a second start of the same
# folder, which must be quick, small and quiet, a kill -9 of it, and the judgement of what it left.
# Faults of many kinds over networks of processes are in node/tests/it, which `cargo xtask ci` runs.
set -euo pipefail
source "$(dirname "$0")/lib.sh"

# Of the processor time when idle several counts are made, and the smallest is the network's: what
# else the machine does can only add to it.
ready_ms_max=${READY_MS_MAX:-5000}
idle_percent_max=${IDLE_PERCENT_MAX:-25}
idle_counts=6
resident_mb_max=1500
idle_seconds=10

[[ -x $skerry ]] || die "$skerry is not built; run make build"
scratch=$(mktemp -d)
network=
finish() {
    local status=$?
    trap - EXIT INT TERM
    [[ -z $network ]] || kill -KILL "$network" 2>/dev/null || true
    if [[ $status -ne 0 ]]; then
        for log in "$scratch/devnet/devnet.log" "$scratch/log"; do
            [[ -f $log ]] && echo "== ${log##*/}" && tail -n 30 "$log"
        done
    fi
    rm -rf "$scratch"
    exit "$status"
}
trap finish EXIT
trap 'exit 130' INT TERM

# Ports reach to 300 above the base, and one a validator (docs/ports.md).
base=$(free_base 320)
"$root/scripts/devnet-demo.sh" --once --port-base "$base" --data-dir "$scratch/devnet" |
    tee "$scratch/demo"
ready_ms=$(sed -nE 's/.*ready after ([0-9]+) ms.*/\1/p' "$scratch/demo")
((ready_ms <= ready_ms_max)) || die "ready after $ready_ms ms, $ready_ms_max are allowed"

started=$EPOCHREALTIME
"$skerry" devnet up --shards 2 --validators 8 --port-base "$base" --data-dir "$scratch/devnet" \
    --json >"$scratch/out" 2>"$scratch/log" &
network=$!
is_ready() { grep -q '"ready":[ ]*true' "$scratch/out"; }
wait_for 60 "the same folder again" is_ready
say "ready again, from the same folder, after $(((${EPOCHREALTIME/./} - ${started/./}) / 1000)) ms"
rpc=$(grep -m1 '"ready"' "$scratch/out" | json 'd["grpc"]')
TRUST=$scratch/devnet/genesis.json
pick_accounts < <(grep -m1 '"ready"' "$scratch/out" | json \
    '"\n".join("%s %s %s" % (a["shard"], a["address"], a["key_file"]) for a in d["accounts"])')
[[ $(balance "$rpc" "$stranger") == 1000005000000000 ]] || die "the first run's transfer is gone"
transfer "across shards, after a restart" "$rpc" "$sender_key" "$stranger" 5

# Processor time of the whole process, in clock ticks; the fields behind the name in brackets.
ticks() { sed 's/.*) //' "/proc/$network/stat" | awk '{print $12 + $13}'; }
sleep 3
used=100
for ((count = 0; count < idle_counts && used >= idle_percent_max; count++)); do
    before=$(ticks)
    sleep "$idle_seconds"
    counted=$((($(ticks) - before) * 100 / ($(getconf CLK_TCK) * idle_seconds)))
    used=$((counted < used ? counted : used))
done
resident=$(awk '/VmRSS/ {print int($2 / 1024)}' "/proc/$network/status")
say "idle: $used % of one core, $resident MB resident"
((used < idle_percent_max)) || die "idle: $used % of one core, $idle_percent_max are allowed"
((resident < resident_mb_max)) || die "$resident MB resident, $resident_mb_max are allowed"

kill -KILL "$network"
wait "$network" 2>/dev/null || true
network=
"$skerry" db verify "$scratch/devnet" | tee "$scratch/verdict"
tail -n 1 "$scratch/verdict" | grep -qx ok || die "db verify does not say ok"
say "passed"
