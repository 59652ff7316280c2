#!/usr/bin/env python3
"""A network of real processes through many epochs, and an account of every view that it skipped.

    scripts/epochs.py [--epochs 10] [--epoch-seconds 60] [--validators 9] [--snapshot]

Starts validators of two shards, one process each, under a small load of transfers. While epochs
end and committees are dealt anew,

- one validator leaves, and takes its bond home once that is free;
- one that the genesis does not know joins, with --snapshot from a snapshot instead of the history;
- one is killed (SIGKILL) for two epochs and comes back.

At the end all stop, `skerry db verify` judges what they stored, and a table says of each chain which
views brought no block and why: turns of the killed validator while it was away, or an epoch change,
which may cost two. Anything else fails the run, as does a transfer that did not arrive or a bond
that is not back to the unit. Needs the built binary (`make build`; SKERRY_BIN names another one)
and nothing but Python's standard library. With --epoch-seconds 6 it takes about two minutes.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, Iterable, TypeVar

ROOT = Path(__file__).resolve().parents[1]
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
SKERRY = os.environ.get("SKERRY_BIN", str(TARGET / "debug" / "skerry"))

NSKER = 10**9
BOND = 100_000 * NSKER  # What every validator of the genesis has, too.
EPOCHS_MIN = 10  # A bond that begins to leave in epoch 0 is free in epoch 8.
KILLED_FOR = 2  # Epochs.
SKIPPED_PER_CHANGE = 2  # What an epoch change may cost each chain.
FIRST_VIEWS = 4  # The views of an epoch that count as part of the change to it.
COMMAND_SECONDS = 90
SHARDS = 2

T = TypeVar("T")


class Failed(Exception):
    """The demonstration cannot go on."""


def now_ms() -> int:
    return time.time_ns() // 1_000_000


# --------------------------------------------------------------------------------------------------
# The account of the views. Pure, so that test_epochs.py can check it.
# --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Away:
    """A validator that was killed: from then until it had caught up again."""

    validator: int
    from_ms: int
    until_ms: int


@dataclass
class Account:
    """The skipped views of one chain, by what explains them."""

    chain: str
    epochs: int = 0
    views: int = 0
    blocks: int = 0
    start: int = 0
    away: int = 0
    changes: Counter[int] = field(default_factory=Counter)
    unexplained: list[str] = field(default_factory=list)

    @property
    def at_changes(self) -> int:
        return sum(self.changes.values())

    @property
    def skipped(self) -> int:
        return self.start + self.away + self.at_changes + len(self.unexplained)


def explain(report: dict[str, Any], complete_ms: int, away: Away) -> Account:
    """Accounts for the skipped views of a chain, as `db verify --json` reports it. Those before
    `complete_ms`, when not all validators ran yet, are of the start."""
    account = Account(report["chain"])
    for epoch in report["epochs"]:
        number = epoch["epoch"]
        account.epochs += epoch["sealed"]
        account.views += epoch["view"]
        account.blocks += epoch["blocks"]
        unnamed = epoch["skipped_count"] - len(epoch["skipped"])
        account.unexplained += [f"epoch {number}: one of {unnamed} more"] * unnamed
        for skipped in epoch["skipped"]:
            view, leader = skipped["view"], skipped["leader"]
            after, before = skipped["after_ms"], skipped["before_ms"] or skipped["after_ms"]
            # The change that it is part of, by the epoch that begins: the views behind the block
            # that ended its epoch, and the first ones of an epoch.
            change = None
            if epoch["sealed"] and view > epoch["working_view"]:
                change = number + 1
            elif number > 0 and view <= FIRST_VIEWS:
                change = number
            if leader == away.validator and after <= away.until_ms and before >= away.from_ms:
                account.away += 1
            elif after < complete_ms:
                account.start += 1
            elif change is not None and account.changes[change] < SKIPPED_PER_CHANGE:
                account.changes[change] += 1
            else:
                where = f"epoch {number} view {view} of {epoch['view']}, turn of v{leader}"
                account.unexplained.append(where)
    return account


def rotation(report: dict[str, Any]) -> list[tuple[int, list[int]]]:
    """The members of each epoch of a chain, a member once for each seat."""
    epochs = []
    for epoch in report["epochs"]:
        seats: list[int] = []
        for member in epoch["members"]:
            weight = member["weight"] if report["chain"] != "beacon" else 1
            seats += [member["validator"]] * weight
        epochs.append((epoch["epoch"], seats))
    return epochs


def table(rows: Iterable[Iterable[object]]) -> str:
    """Columns, the first to the left, the others to the right."""
    cells = [[str(cell) for cell in row] for row in rows]
    widths = [max(len(cell) for cell in column) for column in zip(*cells)]
    lines = []
    for first, *others in cells:
        line = [first.ljust(widths[0])]
        line += [cell.rjust(width) for cell, width in zip(others, widths[1:])]
        lines.append("  ".join(line).rstrip())
    return "\n".join(lines)


# --------------------------------------------------------------------------------------------------
# Commands and processes.
# --------------------------------------------------------------------------------------------------


@dataclass
class Reply:
    """What a command said."""

    exit: int
    data: Any
    code: str
    message: str


def skerry(*args: object, seconds: float = COMMAND_SECONDS) -> Reply:
    """Runs a command of the binary."""
    command = [SKERRY, *map(str, args), "--json"]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=seconds
        )
    except subprocess.TimeoutExpired:
        return Reply(-1, None, "TIMEOUT", f"{' '.join(command)}: not within {seconds} s")
    try:
        envelope = json.loads(done.stdout)
    except json.JSONDecodeError:
        return Reply(done.returncode or -1, None, "NO_JSON", done.stdout + done.stderr)
    error = (envelope["errors"] or [{"code": "", "message": ""}])[0]
    return Reply(done.returncode, envelope["data"], error["code"], error["message"])


def must(*args: object, seconds: float = COMMAND_SECONDS) -> Any:
    """Runs a command that has to succeed; gives its data."""
    reply = skerry(*args, seconds=seconds)
    if reply.exit != 0:
        raise Failed(f"skerry {' '.join(map(str, args))}: {reply.code} {reply.message}")
    return reply.data


class Node:
    """A validator: its home, its ports and, while it runs, its process."""

    def __init__(self, folder: Path, index: int, base: int) -> None:
        self.index, self.name = index, f"v{index}"
        self.home, self.log = folder / self.name, folder.parent / f"{self.name}.log"
        # The layout of docs/ports.md.
        self.peers, self.grpc, self.http = (base + offset + index for offset in (100, 200, 300))
        self.rpc = f"http://127.0.0.1:{self.grpc}"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *options: str) -> None:
        command = [SKERRY, "node", "start", "--home", str(self.home), "--end-with-stdin", *options]
        with self.log.open("ab") as log:
            # Its standard input ends with this program, however that ends.
            self.process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=log
            )

    def runs(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def kill(self) -> None:
        """kill -9, by its number."""
        if self.process is not None:
            if self.process.poll() is None:
                os.kill(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None

    def stop(self) -> None:
        """Asks it to end, which it must do by itself and well."""
        if self.process is None:
            return
        self.process.terminate()
        try:
            status = self.process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            self.kill()
            raise Failed(f"{self.name} did not stop") from None
        self.process = None
        if status != 0:
            raise Failed(f"{self.name} ended with {status}, see {self.log}")

    def ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.http}/readyz", timeout=5) as page:
                return page.status == 200
        except (urllib.error.URLError, OSError):
            return False

    def chains(self) -> dict[str, dict[str, Any]]:
        """How its chains go on, by name; empty while it does not answer."""
        reply = skerry("query", "shard", "--rpc", self.rpc, seconds=20)
        return {chain["chain"]: chain for chain in reply.data["chains"]} if reply.exit == 0 else {}


def height(chain: dict[str, Any]) -> int:
    return (chain["finalized"] or {"height": 0})["height"]


def executed(chain: dict[str, Any]) -> int:
    return (chain["executed"] or {"height": 0})["height"]


def free_base() -> int:
    """The first of a layout's ports, below those that the kernel gives to connections."""

    def free(port: int) -> bool:
        with socket.socket() as tcp:
            tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                tcp.bind(("127.0.0.1", port))
            except OSError:
                return False
            return True

    for base in range(20_000 + os.getpid() % 25 * 400, 31_600, 400):
        if all(free(base + offset) for offset in range(320)):
            return base
    raise Failed("no free ports; give --port-base")


class Network:
    """All nodes, and what is known of them."""

    def __init__(self, folder: Path, args: argparse.Namespace) -> None:
        self.folder, self.begun = folder / "net", time.monotonic()
        self.base = args.port_base or free_base()
        laid_out = must(
            *("genesis", "new", "--shards", SHARDS, "--validators", args.validators),
            *("--epoch-seconds", args.epoch_seconds, "--port-base", self.base),
            *("--out", self.folder),
        )
        self.accounts = laid_out["accounts"]
        self.nodes = [Node(self.folder, index, self.base) for index in range(args.validators)]
        self.down: set[int] = set()
        self.epoch_seconds = args.epoch_seconds

    def say(self, text: str) -> None:
        print(f"{time.monotonic() - self.begun:7.1f} s  {text}", flush=True)

    def check(self) -> None:
        """Nobody may have ended by itself."""
        for node in self.nodes:
            if node.process is not None and not node.runs():
                raise Failed(f"{node.name} ended, see {node.log}")

    def until(self, what: str, epochs: float, condition: Callable[[], T]) -> T:
        """Waits for so many epochs, and a minute, at most."""
        start, limit = time.monotonic(), epochs * self.epoch_seconds + 60
        while True:
            self.check()
            if found := condition():
                return found
            if time.monotonic() - start > limit:
                raise Failed(f"{what}: not within {limit:.0f} s")
            time.sleep(0.3)

    def serving(self) -> list[Node]:
        """The nodes of the genesis that are meant to run."""
        return [node for node in self.nodes if node.index not in self.down]

    def validators(self) -> dict[str, Any]:
        for node in self.serving():
            reply = skerry("query", "validators", "--rpc", node.rpc, seconds=20)
            if reply.exit == 0:
                return reply.data
        raise Failed("nobody answers for the validators")

    def epoch(self) -> int:
        return self.validators()["epoch"]

    def slowest_epoch(self) -> int:
        """The epoch that every chain has come to."""
        chains = self.serving()[0].chains()
        return min((chain["epoch"] for chain in chains.values()), default=0)

    def validator(self, index: int) -> dict[str, Any]:
        return next(it for it in self.validators()["validators"] if it["id"] == index)

    def balance(self, address: str) -> int:
        data = must("query", "account", address, "--rpc", self.serving()[0].rpc)
        return sum(int(it["amount"]) for it in data["balances"] if it["denom"] == "sker")

    def stake(self, key: Path, *command: object) -> dict[str, Any]:
        rpc = self.serving()[0].rpc
        data = must("tx", "stake", *command, "--rpc", rpc, "--key-file", key)
        if data["outcome"] != "SUCCEEDED":
            raise Failed(f"stake {command}: {data}")
        return data

    def end(self) -> None:
        for node in self.nodes:
            node.kill()


# --------------------------------------------------------------------------------------------------
# The load.
# --------------------------------------------------------------------------------------------------


@dataclass
class Recipient:
    """Who gets the transfers of one sender on one way, and how that went."""

    way: str
    address: str
    before: int
    sent: int = 0
    seconds: list[float] = field(default_factory=list)


class Sender(threading.Thread):
    """Sends one `sker` after the other, in its shard and across in turn. A transfer of which it is
    not known what became is sent again under the same nonce, so it happens once."""

    def __init__(self, network: Network, key: str, recipients: list[Recipient]) -> None:
        super().__init__(name=f"sender-{key}", daemon=True)
        self.network, self.key, self.recipients = network, key, recipients
        self.ending = threading.Event()
        self.failure = ""

    def run(self) -> None:
        nonce = 0
        while not self.ending.is_set() and not self.failure:
            recipient = self.recipients[nonce % len(self.recipients)]
            started = time.monotonic()
            self.settle(nonce, recipient)
            recipient.sent += 1
            recipient.seconds.append(time.monotonic() - started)
            nonce += 1
            self.ending.wait(0.2)

    def settle(self, nonce: int, recipient: Recipient) -> None:
        reply, start = Reply(0, None, "", ""), time.monotonic()
        for turn in range(nonce, sys.maxsize):
            serving = self.network.serving()
            reply = skerry(
                *("tx", "send", "--rpc", serving[turn % len(serving)].rpc, "--key-file", self.key),
                *("--to", recipient.address, "--amount", "1sker", "--nonce", nonce),
                *("--wait-for", "returned", "--timeout", "30s"),
            )
            if reply.exit == 0 or reply.code == "NONCE_TOO_LOW":
                return
            outcome = (reply.data or {}).get("outcome")
            if outcome in ("FAILED", "REFUNDED", "PARTIAL") or time.monotonic() - start > 180:
                break
            time.sleep(0.5)
        self.failure = f"transfer {nonce} to {recipient.address}: {reply.code} {reply.message}"


class Load:
    """From one account of each shard to the other one, and to the other shard's."""

    def __init__(self, network: Network) -> None:
        homes: dict[str, list[dict[str, Any]]] = {}
        for account in network.accounts:
            homes.setdefault(account["shard"], []).append(account)
        self.network, self.senders = network, []
        pairs = [homes[shard] for shard in sorted(homes)]
        for (sender, neighbour), (_, stranger) in zip(pairs, pairs[1:] + pairs[:1]):
            ways = [("in shard", neighbour), ("across", stranger)]
            recipients = [Recipient(way, it["address"], 0) for way, it in ways]
            self.senders.append(Sender(network, sender["key_file"], recipients))
        for recipient in self.recipients():
            recipient.before = network.balance(recipient.address)
        for sender in self.senders:
            sender.start()

    def recipients(self) -> list[Recipient]:
        return [recipient for sender in self.senders for recipient in sender.recipients]

    def finish(self) -> list[str]:
        """Ends it and gives what went wrong."""
        for sender in self.senders:
            sender.ending.set()
        for sender in self.senders:
            sender.join(timeout=300)
        wrong = [sender.failure for sender in self.senders if sender.failure]
        wrong += [f"{sender.name} hangs" for sender in self.senders if sender.is_alive()]
        before, expected = {}, Counter()
        for recipient in self.recipients():
            before[recipient.address] = recipient.before
            expected[recipient.address] += recipient.sent * NSKER
        for address, amount in expected.items():
            got, tries = 0, 0
            while (got := self.network.balance(address) - before[address]) != amount and tries < 60:
                tries += 1
                time.sleep(0.5)
            if got != amount:
                wrong.append(f"{address} received {got} nsker of {amount}")
        return wrong

    def text(self) -> str:
        rows: list[list[object]] = [["transfers", "sent", "p50", "longest"]]
        for way in ("in shard", "across"):
            seconds = [it for recipient in self.recipients() if recipient.way == way
                       for it in recipient.seconds]
            p50, most = (statistics.median(seconds), max(seconds)) if seconds else (0.0, 0.0)
            rows.append([way, len(seconds), f"{p50:.2f} s", f"{most:.2f} s"])
        return table(rows)


# --------------------------------------------------------------------------------------------------
# What happens.
# --------------------------------------------------------------------------------------------------


class Story:
    """Who leaves, who joins, who is killed; and what has to be true of it."""

    def __init__(self, network: Network, args: argparse.Namespace) -> None:
        self.network, self.args = network, args
        self.checks: list[tuple[bool, str]] = []
        self.complete_ms = 0
        self.away = Away(-1, 0, 0)
        self.leaver, self.newcomer = 1, args.validators

    def check(self, holds: bool, what: str) -> None:
        self.checks.append((holds, what))
        self.network.say(("" if holds else "FAILED: ") + what)

    def begin(self) -> None:
        network = self.network
        for node in network.nodes:
            node.start()

        def complete() -> bool:
            return all(
                node.ready() and all(height(chain) >= 2 for chain in node.chains().values())
                for node in network.nodes
            )

        network.until("every validator is in step", 0, complete)
        self.complete_ms = now_ms()
        network.say(f"{len(network.nodes)} validators are in step")

    def leave(self) -> None:
        key = self.network.folder / f"v{self.leaver}/keys/operator.json"
        self.network.stake(key, "exit", "--validator", f"v{self.leaver}")
        self.network.say(f"epoch {self.network.epoch()}: v{self.leaver} has asked to leave")

    def join(self) -> None:
        """A folder, an account with the bond, a node, a registration."""
        network, name = self.network, f"v{self.newcomer}"
        node = Node(network.folder, self.newcomer, network.base)
        must(
            *("node", "init", "--home", node.home, "--name", name, "--validator"),
            *("--like", network.folder / "rpc/config.toml"),
            *("--listen", f"/ip4/127.0.0.1/tcp/{node.peers}"),
            *("--grpc-listen", f"127.0.0.1:{node.grpc}"),
            *("--http-listen", f"127.0.0.1:{node.http}"),
        )
        key = node.home / "keys/operator.json"
        genesis = network.folder / "genesis.json"
        address = must("keys", "new", "--out", key, "--development", genesis)["address"]
        rpc, faucet = network.serving()[0].rpc, network.folder / "faucet/key.json"
        must(
            *("tx", "send", "--rpc", rpc, "--key-file", faucet, "--to", address),
            *("--amount", f"{BOND + NSKER}nsker"),
        )
        options = ["--snapshot-above", "1"] if self.args.snapshot else []
        network.down.add(self.newcomer)
        network.nodes.append(node)
        started = time.monotonic()
        node.start(*options)
        network.until(f"{name} is in step", 1, lambda: self.in_step(node))
        took = time.monotonic() - started
        network.down.discard(self.newcomer)
        network.say(f"epoch {network.epoch()}: {name} runs and is in step after {took:.1f} s")
        if self.args.snapshot:
            first = skerry("query", "block", "beacon", 1, "--rpc", node.rpc)
            self.check(first.exit != 0, f"{name} came by a snapshot: it has no block 1")
        validator_key = node.home / "keys/validator.json"
        network.stake(
            key, "register", "--validator-key", validator_key, "--bond", f"{BOND}nsker"
        )
        network.say(f"epoch {network.epoch()}: {name} is registered")

    def in_step(self, node: Node) -> bool:
        """Whether a node has executed all that was final at another one just before: no sooner can it
        know what it would vote for."""
        other = next(it for it in self.network.serving() if it is not node)
        wanted, found = other.chains(), node.chains()
        behind = [
            name
            for name, chain in wanted.items()
            if name not in found or executed(found[name]) < height(chain)
        ]
        return bool(wanted) and not behind

    def seats(self, index: int) -> str:
        seats = self.network.validator(index)["seats"]
        return ", ".join(seat["chain"] for seat in seats) or "no chain"

    def kill(self) -> None:
        network = self.network
        # Who has most to lose, so that its absence is felt.
        candidates = [
            it
            for it in network.validators()["validators"]
            if it["id"] not in (0, self.leaver, self.newcomer)
        ]
        victim = max(candidates, key=lambda it: (len(it["seats"]), it["id"]))["id"]
        node, epoch, seats = network.nodes[victim], network.epoch(), self.seats(victim)
        network.down.add(victim)
        killed_ms = now_ms()
        node.kill()
        network.say(f"epoch {epoch}: {node.name}, with seats on {seats}, is killed")
        network.until(
            f"{KILLED_FOR} epochs without {node.name}",
            KILLED_FOR + 1,
            lambda: network.slowest_epoch() >= epoch + KILLED_FOR,
        )
        node.start()
        network.until(f"{node.name} is back", 1, lambda: self.in_step(node))
        self.away = Away(victim, killed_ms, now_ms())
        network.down.discard(victim)
        gone = (self.away.until_ms - killed_ms) / 1_000
        network.say(f"epoch {network.epoch()}: {node.name} is back and in step, {gone:.1f} s later")

    def withdraw(self) -> None:
        network, name = self.network, f"v{self.leaver}"
        leaving = network.until(
            f"{name} is unbonding",
            8,
            lambda: next(
                (it for it in [network.validator(self.leaver)] if it["free_from"] is not None), None
            ),
        )
        network.down.add(self.leaver)
        network.nodes[self.leaver].stop()
        free_from = leaving["free_from"]
        epoch = network.epoch()
        network.say(f"epoch {epoch}: no committee holds {name}, its node is stopped; its bond is "
                    f"free from epoch {free_from}")
        key = network.folder / f"{name}/keys/operator.json"
        network.until("the bond is free", 8, lambda: network.epoch() >= free_from)
        before = network.balance(leaving["operator"])
        fee = int(network.stake(key, "withdraw", "--validator", name)["fee"])
        after = network.balance(leaving["operator"])
        self.check(
            after == before - fee + BOND,
            f"epoch {network.epoch()}: the bond of {name} is home: {before} - fee {fee} + {BOND} = "
            f"{after} nsker",
        )

    def tell(self) -> None:
        """Everything in its order."""
        network, args = self.network, self.args
        self.begin()
        load = Load(network)
        self.leave()
        network.until("epoch 1", 2, lambda: network.slowest_epoch() >= 1)
        self.join()
        network.until(
            "the newcomer has a seat", 5, lambda: network.validator(self.newcomer)["seats"]
        )
        network.say(f"epoch {network.epoch()}: v{self.newcomer} has seats on "
                    f"{self.seats(self.newcomer)}")
        self.kill()
        self.withdraw()
        network.until(
            f"{args.epochs} epochs",
            args.epochs,
            lambda: network.slowest_epoch() >= args.epochs,
        )
        network.say(f"every chain has ended {args.epochs} epochs")
        wrong = load.finish()
        sent = sum(recipient.sent for recipient in load.recipients())
        self.check(not wrong, f"{sent} transfers arrived, to the unit" if not wrong
                   else "; ".join(wrong))
        for node in network.nodes:
            node.stop()
        network.say("all are stopped; verifying what they stored")
        self.judge(load)

    def judge(self, load: Load) -> None:
        network = self.network
        genesis = network.folder / "genesis.json"
        homes = [node.home for node in network.nodes]
        verdict = skerry("db", "verify", *homes, "--genesis", genesis, seconds=3_600)
        self.check(verdict.exit == 0, f"db verify of {len(homes)} nodes "
                   + ("finds nothing wrong" if verdict.exit == 0 else verdict.message))
        if verdict.data is None:
            return
        chains = verdict.data["chains"]
        accounts = [explain(chain, self.complete_ms, self.away) for chain in chains]
        print("\nseats, epoch by epoch")
        for chain in chains:
            if chain["chain"] == "beacon":
                continue
            for epoch, seats in rotation(chain):
                names = " ".join(f"v{seat}" for seat in seats)
                print(f"  {chain['chain']}  epoch {epoch:>3}  {names}")
        print("\n" + load.text())
        victim = f"v{self.away.validator} away"
        head = ["chain", "epochs", "views", "blocks", "skipped", "at the start", victim,
                "epoch changes", "unexplained"]
        rows: list[list[object]] = [list(head)]
        for it in accounts:
            rows.append([it.chain, it.epochs, it.views, it.blocks, it.skipped, it.start, it.away,
                         it.at_changes, len(it.unexplained)])
        print("\n" + table(rows) + "\n")
        for it in accounts:
            for epoch, count in sorted(it.changes.items()):
                print(f"  {it.chain}: {count} skipped at the change to epoch {epoch}")
            for where in it.unexplained:
                print(f"  {it.chain}: unexplained: {where}")
        print()
        self.check(all(it.epochs >= self.args.epochs for it in accounts),
                   f"each chain has sealed {self.args.epochs} epochs")
        for chain in chains:
            seats = [set(members) for _, members in rotation(chain)]
            changes = sum(before != after for before, after in zip(seats, seats[1:]))
            self.check(changes > 0, f"{chain['chain']}: the members changed {changes} times")
            if chain["chain"] == "beacon":
                joined = sum(self.newcomer in members for members in seats)
                self.check(joined > 0, f"v{self.newcomer} voted in {joined} epochs of the beacon")
                self.check(self.leaver not in seats[-1], f"v{self.leaver} has left the beacon")
        unexplained = sum(len(it.unexplained) for it in accounts)
        self.check(unexplained == 0, f"{sum(it.skipped for it in accounts)} skipped views, "
                   f"{unexplained} of them unexplained")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--epochs", type=int, default=EPOCHS_MIN, help="that every chain ends")
    parser.add_argument("--epoch-seconds", type=int, default=60)
    parser.add_argument("--validators", type=int, default=9, help="of the genesis")
    parser.add_argument("--snapshot", action="store_true", help="the newcomer starts from one")
    parser.add_argument("--port-base", type=int, help="first port of the layout [a free one]")
    parser.add_argument("--data-dir", type=Path, help="kept; must not exist [a temporary one]")
    args = parser.parse_args()
    if args.epochs < EPOCHS_MIN or args.validators < 2 * SHARDS + 3 or args.epoch_seconds < 3:
        parser.error(f"at least {EPOCHS_MIN} epochs of 3 seconds, and {2 * SHARDS + 3} validators")
    return args


def main() -> int:
    args = arguments()
    if not os.access(SKERRY, os.X_OK):
        print(f"{SKERRY} is not built; run make build", file=sys.stderr)
        return 1
    if args.data_dir is None:
        folder = Path(tempfile.mkdtemp(prefix="skerry-epochs-"))
    else:
        args.data_dir.mkdir(parents=True)
        folder = args.data_dir.resolve()
    # As after Ctrl-C, the processes are ended on the way out.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    network, story, failure = None, None, ""
    try:
        network = Network(folder, args)
        network.say(f"{args.validators} validators, {SHARDS} shards, epochs of "
                    f"{args.epoch_seconds} s, in {folder}")
        story = Story(network, args)
        story.tell()
    except Failed as error:
        failure = str(error)
    except KeyboardInterrupt:
        failure = "interrupted"
    finally:
        if network is not None:
            network.end()
    failed = [what for holds, what in story.checks if not holds] if story else []
    failed += [failure] if failure else []
    for what in failed:
        print(f"FAILED: {what}", file=sys.stderr)
    if failed:
        print(f"what is left is in {folder}", file=sys.stderr)
        return 1
    if args.data_dir is None:
        shutil.rmtree(folder)
    print(f"passed: {len(story.checks) if story else 0} checks")
    return 0


if __name__ == "__main__":
    sys.exit(main())
