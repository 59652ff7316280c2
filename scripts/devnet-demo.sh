#!/usr/bin/env bash
# Starts a network of two shards and eight validators in one process and shows the main job: a
# transfer within a shard, one across shards, and the proof of both balances.
#
#   scripts/devnet-demo.sh [--once] [--port-base PORT] [--data-dir DIR]
#
# The network then runs until Ctrl-C; with --once it stops after the demonstration.
set -euo pipefail
source "$(dirname "$0")/lib.sh"

once=no port_base=50051 data_dir=$target/devnet
while [[ $# -gt 0 ]]; do
    case $1 in
    --once) once=yes && shift ;;
    --port-base) port_base=$2 && shift 2 ;;
    --data-dir) data_dir=$2 && shift 2 ;;
    *) die "unknown argument: $1" ;;
    esac
done
# The most that the whole network may hold in RAM, in MB.
memory_limit=1536

stop() {
    local status=$?
    trap - EXIT INT TERM
    [[ -z ${network:-} ]] || say "stopping the network"
    stop_devnet
    exit "$status"
}
trap stop EXIT
trap 'exit 0' INT TERM

say "starting 2 shards and 8 validators in one process, in $data_dir"
start_devnet "$data_dir" "$port_base"
say "ready after $took ms: every chain has finalized blocks"

accounts=$(json \
    '"\n".join("%s %s %s" % (a["shard"], a["address"], a["key_file"]) for a in d["accounts"])' \
    <<<"$ready")
pick_accounts <<<"$accounts"
[[ -n $stranger ]] || die "the ready line names accounts of one shard only"

# Every balance below is proven from this network's genesis, not taken on the server's word.
TRUST=$data_dir/genesis.json
transfer "within a shard" "$rpc" "$sender_key" "$neighbour" 5
transfer "across shards" "$rpc" "$sender_key" "$stranger" 5
memory=$(awk '/VmRSS/ {print int($2 / 1024)}' "/proc/$network/status")
say "resident memory of the whole network: $memory MB"
((memory < memory_limit)) || die "that is more than $memory_limit MB"

if [[ $once == yes ]]; then
    say "passed"
    exit 0
fi
cat <<TEXT

The network runs until Ctrl-C; the next start resumes the same chain.
$(json '"\n".join("  %-10s%s" % (k, d[k]) for k in ("grpc", "metrics", "faucet", "explorer") if d.get(k))' <<<"$ready")
  log       $data_dir/devnet.log

Funded accounts, with keys that work here only:
$(json '"\n".join("  %s  %s\n    %s" % (a["shard"], a["address"], a["key_file"]) for a in d["accounts"])' <<<"$ready")

Try in another terminal:
  $skerry tx send --rpc $rpc --key-file $sender_key \\
      --to $stranger --amount 5sker
  $skerry query account $stranger --rpc $rpc \\
      --verify --trust $TRUST
  $skerry devnet faucet $stranger --faucet $(json 'd.get("faucet", "")' <<<"$ready")
TEXT
wait "$network" || die "the network ended: $(tail -n 20 "$data_dir/devnet.log")"
network=
