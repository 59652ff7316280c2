#!/usr/bin/env bash
# Starts the compose network from the image that `make image` builds, waits until all containers are
# healthy, and says how to use it. The chain of an earlier start is resumed.
set -euo pipefail
source "$(dirname "$0")/lib.sh"
cd "$root"

find_compose || die "docker-compose is missing"
# docker-compose 1.29 fails to recreate containers on newer engines: always down before up.
quietly "${compose[@]}" down --remove-orphans
say "starting 8 validators over 2 shards, a gateway and a faucet"
quietly "${compose[@]}" up -d
wait_healthy v0 v1 v2 v3 v4 v5 v6 v7 rpc faucet
say "all containers are healthy"

out=$target/compose
rm -rf "$out"
mkdir -p "$out"
genesis=$(container genesis)
docker cp "$genesis:/net/accounts" "$out/accounts" >/dev/null
docker cp "$genesis:/net/genesis.json" "$out/genesis.json" >/dev/null
accounts=$(accounts_of "$out/accounts" 2)
pick_accounts <<<"$accounts"
rpc=http://127.0.0.1:${SKERRY_RPC_PORT:-50051}
cat <<TEXT

  gRPC      $rpc
  metrics   http://127.0.0.1:${SKERRY_METRICS_PORT:-9464}/metrics
  faucet    http://127.0.0.1:${SKERRY_FAUCET_PORT:-8081}
  genesis   $out/genesis.json
  keys      $out/accounts

Try:
  $skerry tx send --rpc $rpc --key-file $sender_key \\
      --to $stranger --amount 5sker
  $skerry query account $stranger --rpc $rpc \\
      --verify --trust $out/genesis.json
make compose-down stops it and removes the chain.
TEXT
