#!/usr/bin/env bash
# The compose network under test: all healthy, transfers through the published port, one container
# killed, one cut off and joined again, and transfers still succeed. Its own project, image tag and
# ports, so that a running devnet is not disturbed; everything is removed at the end.
#
# Without a docker engine it says so and passes, unless SKERRY_REQUIRE_DOCKER=1.
set -euo pipefail
source "$(dirname "$0")/lib.sh"
cd "$root"

if ! docker info >/dev/null 2>&1; then
    [[ ${SKERRY_REQUIRE_DOCKER:-0} != 1 ]] || die "no docker engine answers, and one is required"
    say "SKIPPED: no docker engine answers on this machine"
    exit 0
fi
if ! find_compose; then
    [[ ${SKERRY_REQUIRE_DOCKER:-0} != 1 ]] || die "docker works, but docker-compose is missing"
    say "SKIPPED: docker works, but docker-compose is missing"
    exit 0
fi

project=skerrytest
compose+=(--project-name "$project" --file "$root/docker-compose.yml")
image=skerry:test
export SKERRY_IMAGE=$image
base=$(free_ports 3)
export SKERRY_RPC_PORT=${SKERRY_RPC_PORT:-$base}
export SKERRY_METRICS_PORT=${SKERRY_METRICS_PORT:-$((base + 1))}
export SKERRY_FAUCET_PORT=${SKERRY_FAUCET_PORT:-$((base + 2))}
rpc=http://127.0.0.1:$SKERRY_RPC_PORT
services=(v0 v1 v2 v3 v4 v5 v6 v7 rpc faucet)

scratch=$(mktemp -d)
finish() {
    local status=$?
    trap - EXIT
    if [[ $status -ne 0 ]]; then
        "${compose[@]}" ps || true
        "${compose[@]}" logs --no-color --tail=15 || true
    fi
    "${compose[@]}" down -v --remove-orphans >/dev/null 2>&1 || true
    docker image rm "$image" >/dev/null 2>&1 || true
    rm -rf "$scratch"
    exit "$status"
}
trap finish EXIT
trap 'exit 130' INT TERM

pid_of() { docker inspect --format '{{.State.Pid}}' "$1"; }
# What the node itself says now; docker's opinion is some seconds old.
is_ready() {
    docker exec "$(container "$1")" skerry node status --ready --http http://127.0.0.1:9464
}
is_not_ready() { ! is_ready "$1"; }
is_restarted() { [[ $(pid_of "$1") != 0 && $(pid_of "$1") != "$2" ]]; }
transfers() {
    transfer "$1, within a shard" "$rpc" "$sender_key" "$neighbour" 2
    transfer "$1, across shards" "$rpc" "$sender_key" "$stranger" 3
}

IMAGE=$image scripts/image.sh
# docker-compose 1.29 fails to recreate containers on newer engines: always down before up.
"${compose[@]}" down -v --remove-orphans >/dev/null 2>&1
started=$SECONDS
quietly "${compose[@]}" up -d
wait_healthy "${services[@]}"
say "all ${#services[@]} containers are healthy after $((SECONDS - started)) s"

genesis=$(container genesis)
docker cp "$genesis:/net/accounts" "$scratch/accounts" >/dev/null
docker cp "$genesis:/net/genesis.json" "$scratch/genesis.json" >/dev/null
TRUST=$scratch/genesis.json
accounts=$(accounts_of "$scratch/accounts" 2)
pick_accounts <<<"$accounts"
[[ -n $stranger ]] || die "genesis funded accounts of one shard only"
transfers "at rest"

before=$(balance "$rpc" "$stranger")
"$skerry" devnet faucet "$stranger" --faucet "http://127.0.0.1:$SKERRY_FAUCET_PORT" --json >/dev/null
is_richer() { (($(balance "$rpc" "$stranger") > before)); }
wait_for 30 "tokens from the faucet" is_richer
say "the faucet gave $(sker "$(($(balance "$rpc" "$stranger") - before))") sker"

# `docker kill` counts as a wish of the operator and is not undone; a crash inside is.
victim=$(container v1)
before=$(pid_of "$victim")
killed=$SECONDS
docker exec "$victim" /bin/sh -c 'kill -9 -1' || true
transfers "with v1 killed"
wait_for 120 "v1 restarted" is_restarted "$victim" "$before"
wait_for 120 "v1 in step again" is_ready v1
say "v1 was killed and came back after $((SECONDS - killed)) s"

lonely=$(container v2)
network=${project}_default
docker network disconnect "$network" "$lonely"
transfers "with v2 cut off"
wait_for 60 "v2 says that it is cut off" is_not_ready v2
joined=$SECONDS
# Its peers look for it by name; a plain reconnect would lose that.
docker network connect --alias v2 "$network" "$lonely"
wait_for 120 "v2 in step again" is_ready v2
say "v2 was cut off, said so, and was in step $((SECONDS - joined)) s after it was joined again"
wait_healthy "${services[@]}"
transfers "after healing"
say "passed"
