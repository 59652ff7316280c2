"""Transfers within a shard and across shards against a running network, to the last base unit.

    skerry devnet up --shards 2 --validators 8 --port-base 50051 --data-dir DIR
    python test_transfers.py --rpc localhost:50051 --genesis DIR/genesis.json \
        --key-file DIR/accounts/NAME.json

Exits with 0 when every check holds.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import skerry_client as skerry

SKER = 10**9


def check(what: str, actual: Any, expected: Any) -> None:
    if actual != expected:
        raise SystemExit(f"FAILED {what}: expected {expected}, found {actual}")
    print(f"ok {what}: {actual}")


def names(client: skerry.Client, status: Any) -> tuple[str, str]:
    stage = client.enum_name("Stage", status.stage)
    outcome = client.enum_name("Outcome", status.outcome)
    return stage.removeprefix("STAGE_"), outcome.removeprefix("OUTCOME_")


def transfer(wallet: skerry.Wallet, chain: str, amount: int) -> None:
    """Sends to a fresh account on `chain` and checks both balances and the fee."""
    sender, denom = wallet.account.address, skerry.denom_bytes("sker")
    recipient = skerry.Account.new_in(chain, wallet.shard_depth).address
    check(f"{chain}: balance of a fresh account", wallet.balance(recipient, denom), 0)
    before = wallet.balance(sender, denom)
    body = wallet.transfer_body(recipient, skerry.Asset(denom, amount))
    status = wallet.submit(body.sign(wallet.account.key))
    check(f"{chain}: hash", status.hash, f"0x{body.id().hex()}")
    check(f"{chain}: stage and outcome", names(wallet.client, status), ("RETURNED", "SUCCEEDED"))
    check(f"{chain}: fee", int(status.fee), body.gas_limit * body.gas_price)
    heights = {leg.chain: leg.block.height for leg in status.legs}
    check(f"{chain}: a leg runs there", chain in heights, True)
    home = skerry.home_chain(sender, wallet.shard_depth)
    after = wallet.balance(sender, denom, home, heights[home])
    check(f"{chain}: paid", before - after, amount + body.gas_limit * body.gas_price)
    received = wallet.balance(recipient, denom, chain, heights[chain])
    check(f"{chain}: received", received, amount)


def refusals(wallet: skerry.Wallet) -> None:
    """What a node must refuse, each for its own reason."""
    denom, home = skerry.denom_bytes("sker"), wallet.account.address
    body = wallet.transfer_body(home, skerry.Asset(denom, 1))
    other = skerry.TransactionBody(**{**vars(body), "chain_id": bytes(32)})
    forged = bytearray(body.sign(wallet.account.key))
    forged[-1] ^= 1
    stale = skerry.TransactionBody(**{**vars(body), "sequence": 0})
    for reason, wire in (
        ("CHAIN_MISMATCH", other.sign(wallet.account.key)),
        ("SIGNATURE_INVALID", bytes(forged)),
        ("NONCE_TOO_LOW", stale.sign(wallet.account.key)),
        ("TX_MALFORMED", body.sign(wallet.account.key) + b"\0"),
    ):
        try:
            wallet.submit(wire)
        except skerry.Refused as refused:
            check("refused", refused.reason, reason)
        else:
            raise SystemExit(f"FAILED: {reason} was accepted")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rpc", default="localhost:50051")
    parser.add_argument("--genesis", type=Path, required=True)
    parser.add_argument("--key-file", type=Path, required=True)
    parser.add_argument("--amount", type=int, default=5 * SKER, help="base units")
    options = parser.parse_args()
    genesis = json.loads(options.genesis.read_text())
    account = skerry.Account.from_file(options.key_file)
    with skerry.Client(options.rpc) as client:
        wallet = skerry.Wallet(client, account, genesis)
        home = skerry.home_chain(account.address, wallet.shard_depth)
        chains = [f"shard-{bits}/{wallet.shard_depth}" for bits in range(1 << wallet.shard_depth)]
        for chain in sorted(chains, key=lambda chain: chain != home):
            transfer(wallet, chain, options.amount)
        refusals(wallet)
    print("all checks hold")


if __name__ == "__main__":
    main()
