#!/usr/bin/env bash
# The Python client, which shares no code with the node: its encodings against the vectors, then
# transfers on a devnet of its own, signed by itself, with no `skerry` on its PATH. Before that, what
# the scripts in Python compute without a network.
set -euo pipefail
source "$(dirname "$0")/lib.sh"

client=$root/clients/python
venv=$target/python
wanted=$(sha256sum "$client/requirements.txt")
if [[ $(cat "$venv/.installed" 2>/dev/null) != "$wanted" ]]; then
    say "installing with pip: $(grep -v '^#' "$client/requirements.txt" | tr '\n' ' ')"
    rm -rf "$venv"
    python3 -m venv "$venv"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check \
        --requirement "$client/requirements.txt"
    printf '%s\n' "$wanted" >"$venv/.installed"
fi
export PYTHONDONTWRITEBYTECODE=1
(cd "$client" && "$venv/bin/python" -m unittest --quiet test_encoding)
say "the encodings match the vectors"
"$venv/bin/python" -m unittest discover --quiet --start-directory "$root/scripts"
say "views are accounted for as they should be"

scratch=$(mktemp -d)
stop() {
    local status=$?
    trap - EXIT
    stop_devnet
    rm -rf "$scratch"
    exit "$status"
}
trap stop EXIT
trap 'exit 130' INT TERM

start_devnet "$scratch/devnet" "$(free_base)"
key_file=$(json 'd["accounts"][0]["key_file"]' <<<"$ready")
(cd "$client" && PATH=/usr/bin:/bin "$venv/bin/python" test_transfers.py --rpc "${rpc#http://}" \
    --genesis "$scratch/devnet/genesis.json" --key-file "$key_file")
say "passed"
