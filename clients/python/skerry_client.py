"""A Skerry client from scratch: encodes, hashes and signs by itself after docs/encoding.md.

It needs no generated code and no `skerry` program. The first half of the file turns values into
canonical bytes, addresses and signatures and talks to nobody; `test_encoding.py` checks it against
`types/tests/vectors.json`. The second half is a gRPC client that learns the services from the node
by reflection. Packages: requirements.txt.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Iterable, Sequence

from blake3 import blake3
from nacl.signing import SigningKey

# --------------------------------------------------------------------------------------------------
# Borsh: little-endian fixed widths, u32 lengths, a byte for options and enum variants.
# --------------------------------------------------------------------------------------------------

VERSION = b"\x01"


def u8(value: int) -> bytes:
    return value.to_bytes(1, "little")


def u16(value: int) -> bytes:
    return value.to_bytes(2, "little")


def u32(value: int) -> bytes:
    return value.to_bytes(4, "little")


def u64(value: int) -> bytes:
    return value.to_bytes(8, "little")


def u128(value: int) -> bytes:
    return value.to_bytes(16, "little")


def fixed(value: bytes, length: int) -> bytes:
    """A fixed array: its bytes as they are."""
    if len(value) != length:
        raise ValueError(f"{len(value)} bytes, expected {length}")
    return value


def byte_list(value: bytes) -> bytes:
    """A list of bytes: length, bytes."""
    return u32(len(value)) + value


def text(value: str) -> bytes:
    return byte_list(value.encode())


def items(encoded: Iterable[bytes]) -> bytes:
    """A list of anything: count, then each item's encoding."""
    encoded = list(encoded)
    return u32(len(encoded)) + b"".join(encoded)


# --------------------------------------------------------------------------------------------------
# Hashes
# --------------------------------------------------------------------------------------------------


def plain_hash(data: bytes) -> bytes:
    """Plain blake3, as default localities and the state tree use it."""
    return blake3(data).digest()


def derived_hash(purpose: str, data: bytes) -> bytes:
    """blake3 in derive-key mode; `purpose` without the common prefix, e.g. `transaction id`."""
    return blake3(data, derive_key_context=f"skerry v1 {purpose}").digest()


def list_root(leaves: Sequence[bytes]) -> bytes:
    """Root of a list of hashes, in the manner of RFC 6962."""
    if not leaves:
        return bytes(32)
    if len(leaves) == 1:
        return derived_hash("list leaf", leaves[0])
    half = 1 << (len(leaves) - 1).bit_length() - 1
    return derived_hash("list node", list_root(leaves[:half]) + list_root(leaves[half:]))


# --------------------------------------------------------------------------------------------------
# Bech32m (BIP-350)
# --------------------------------------------------------------------------------------------------

_CHARACTERS = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
_BECH32M = 0x2BC830A3


def _checksum(values: Iterable[int]) -> int:
    generator = (0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)
    check = 1
    for value in values:
        top = check >> 25
        check = (check & 0x1FFFFFF) << 5 ^ value
        for bit in range(5):
            check ^= generator[bit] if top >> bit & 1 else 0
    return check


def _expand(prefix: str) -> list[int]:
    return [ord(c) >> 5 for c in prefix] + [0] + [ord(c) & 31 for c in prefix]


def bech32m_encode(prefix: str, data: bytes) -> str:
    number, bits = int.from_bytes(data, "big"), len(data) * 8
    padding = -bits % 5
    number, bits = number << padding, bits + padding
    symbols = [number >> shift & 31 for shift in range(bits - 5, -1, -5)]
    check = _checksum(_expand(prefix) + symbols + [0] * 6) ^ _BECH32M
    symbols += [check >> 5 * (5 - i) & 31 for i in range(6)]
    return prefix + "1" + "".join(_CHARACTERS[symbol] for symbol in symbols)


def bech32m_decode(prefix: str, string: str) -> bytes:
    """The data of a bech32m string; refuses other prefixes, checksums and paddings."""
    start, _, rest = string.rpartition("1")
    if start != prefix or any(c not in _CHARACTERS for c in rest):
        raise ValueError(f"{string!r} is not bech32m with the prefix {prefix}")
    symbols = [_CHARACTERS.index(c) for c in rest]
    if _checksum(_expand(prefix) + symbols) != _BECH32M:
        raise ValueError(f"{string!r} has a typing error")
    number, bits = 0, 5 * (len(symbols) - 6)
    for symbol in symbols[:-6]:
        number = number << 5 | symbol
    padding = bits % 8
    if padding > 4 or number & (1 << padding) - 1:
        raise ValueError(f"{string!r} has bad padding")
    return (number >> padding).to_bytes(bits // 8, "big")


# --------------------------------------------------------------------------------------------------
# Addresses, objects, denoms, chains
# --------------------------------------------------------------------------------------------------

ED25519, MULTISIG = 0, 1


def default_locality(key_bytes: bytes) -> int:
    return int.from_bytes(plain_hash(key_bytes)[:2], "big")


def _tagged(purpose: str, locality: int, *parts: bytes) -> bytes:
    prefix = locality.to_bytes(2, "big")
    return prefix + derived_hash(purpose, prefix + b"".join(parts))[2:]


def address_of_key(scheme: int, key_bytes: bytes, locality: int | None = None) -> bytes:
    """The 32 bytes of the account that a key first controls, near `locality`."""
    if locality is None:
        locality = default_locality(key_bytes)
    return _tagged("address", locality, u8(scheme), key_bytes)


def object_id(module: int, sender: bytes, stream: int, sequence: int, operation: int) -> bytes:
    locality = int.from_bytes(sender[:2], "big")
    parts = u16(module) + sender + u16(stream) + u64(sequence) + u16(operation)
    return _tagged("object", locality, parts)


def system_object_id(module: int, chain: str, name: bytes) -> bytes:
    depth, bits = chain_prefix(chain)
    locality = 0 if chain == "beacon" else bits << 16 - depth
    return _tagged("object", locality, b"system", u16(module), chain_bytes(chain), name)


def address_text(address: bytes) -> str:
    return bech32m_encode("sk", address)


def address_bytes(string: str) -> bytes:
    return fixed(bech32m_decode("sk", string), 32)


_RESERVED = ("sker", "stsker", "rssker")


def denom_bytes(string: str) -> bytes:
    if string in _RESERVED:
        return (b"\0\0" + string.encode()).ljust(32, b"\0")
    return fixed(bech32m_decode("skd", string), 32)


def created_denom(creator: bytes, name: str) -> bytes:
    return _tagged("denom", int.from_bytes(creator[:2], "big"), creator, name.encode())


def denom_text(denom: bytes) -> str:
    reserved = {denom_bytes(name): name for name in _RESERVED}
    return reserved.get(denom) or bech32m_encode("skd", denom)


def chain_prefix(chain: str) -> tuple[int, int]:
    """Depth and bits of `beacon` or `shard-<bits>/<depth>`."""
    if chain == "beacon":
        return 255, 0
    bits, _, depth = chain.removeprefix("shard-").partition("/")
    return int(depth), int(bits)


def chain_bytes(chain: str) -> bytes:
    depth, bits = chain_prefix(chain)
    return u8(depth) + u16(bits)


def home_chain(address: bytes, shard_depth: int) -> str:
    """The shard where an address lives: the top bits of its locality."""
    bits = int.from_bytes(address[:2], "big") >> 16 - shard_depth
    return f"shard-{bits}/{shard_depth}"


# --------------------------------------------------------------------------------------------------
# Transactions
# --------------------------------------------------------------------------------------------------

BANK = 2
HOME, BEACON = u8(0), u8(2)


def near(owner: bytes) -> bytes:
    """Target: the home shard of an owner."""
    return u8(1) + fixed(owner, 32)


@dataclass(frozen=True)
class Asset:
    denom: bytes
    amount: int

    def encode(self) -> bytes:
        return fixed(self.denom, 32) + u128(self.amount)


@dataclass(frozen=True)
class Operation:
    module: int
    call: bytes

    def encode(self) -> bytes:
        return u16(self.module) + byte_list(self.call)


@dataclass(frozen=True)
class Leg:
    target: bytes
    operations: Sequence[Operation]
    minimum_outputs: Sequence[Asset] = ()

    def encode(self) -> bytes:
        return (
            self.target
            + items(operation.encode() for operation in self.operations)
            + items(asset.encode() for asset in self.minimum_outputs)
        )


@dataclass(frozen=True)
class Bundle:
    assets: Sequence[Asset]
    operations: Sequence[Operation]
    deadline: int
    minimum_outputs: Sequence[Asset] = ()
    target: bytes = HOME
    onward: Sequence[Leg] = ()

    def encode(self) -> bytes:
        return (
            self.target
            + items(asset.encode() for asset in self.assets)
            + items(operation.encode() for operation in self.operations)
            + items(asset.encode() for asset in self.minimum_outputs)
            + u64(self.deadline)
            + items(leg.encode() for leg in self.onward)
        )


@dataclass(frozen=True)
class TransactionBody:
    chain_id: bytes
    sender: bytes
    stream: int
    sequence: int
    valid_until: int
    gas_limit: int
    gas_price: int
    bundle: Bundle

    def encode(self) -> bytes:
        return (
            VERSION
            + fixed(self.chain_id, 32)
            + fixed(self.sender, 32)
            + u16(self.stream)
            + u64(self.sequence)
            + u64(self.valid_until)
            + u64(self.gas_limit)
            + u128(self.gas_price)
            + self.bundle.encode()
        )

    def id(self) -> bytes:
        return derived_hash("transaction id", self.encode())

    def signing_digest(self) -> bytes:
        return derived_hash("transaction signing", self.chain_id + self.id())

    def sign(self, key: SigningKey) -> bytes:
        """The wire bytes, signed with one ed25519 key."""
        signature = key.sign(self.signing_digest()).signature
        return self.with_witness(ed25519_authenticator(bytes(key.verify_key)), [(0, signature)])

    def with_witness(self, authenticator: bytes, signatures: Sequence[tuple[int, bytes]]) -> bytes:
        return (
            self.encode()
            + authenticator
            + items(u8(position) + fixed(signature, 64) for position, signature in signatures)
        )


def ed25519_authenticator(public_key: bytes) -> bytes:
    return u8(ED25519) + fixed(public_key, 32)


def multisig_authenticator(threshold: int, public_keys: Sequence[bytes]) -> bytes:
    """`public_keys` strictly increasing."""
    return u8(MULTISIG) + u8(threshold) + items(fixed(key, 32) for key in public_keys)


def wire_hash(wire: bytes) -> bytes:
    return derived_hash("transaction wire", wire)


def bank_send(recipient: bytes, asset: Asset) -> Operation:
    """The bank's call `send`, which is its first variant."""
    return Operation(BANK, u8(0) + fixed(recipient, 32) + asset.encode())


def transfer_bundle(recipient: bytes, asset: Asset, deadline: int) -> Bundle:
    return Bundle([asset], [bank_send(recipient, asset)], deadline)


# --------------------------------------------------------------------------------------------------
# Genesis: the chain id is the hash of the file's canonical bytes.
# --------------------------------------------------------------------------------------------------


def _hex(string: str, length: int) -> bytes:
    return fixed(bytes.fromhex(string.removeprefix("0x")), length)


def genesis_bytes(genesis: dict[str, Any]) -> bytes:
    parameters = genesis["parameters"]
    widths = (
        ("delta_ms", u64),
        ("idle_interval_ms", u64),
        ("beacon_interval_ms", u64),
        ("epoch_ms", u64),
        ("base_fee", lambda amount: u128(int(amount))),
        ("block_gas", u64),
        ("inbound_gas", u64),
        ("min_bond", u64),
        ("unbonding_epochs", u64),
        ("overdue_epochs", u64),
        ("jail_epochs", u64),
        ("slash_bps", u16),
    )

    def validator(it: dict[str, Any]) -> bytes:
        keys = _hex(it["vote_key"], 48) + _hex(it["possession"], 96)
        return text(it["name"]) + keys + address_bytes(it["operator"]) + u64(it["stake"])

    def account(it: dict[str, Any]) -> bytes:
        assets = (Asset(denom_bytes(a["denom"]), int(a["amount"])) for a in it["assets"])
        return address_bytes(it["address"]) + items(asset.encode() for asset in assets)

    return (
        VERSION
        + text(genesis["name"])
        + _hex(genesis["salt"], 32)
        + u64(genesis["time"])
        + u8(genesis["development"])
        + u8(genesis["shard_depth"])
        + b"".join(encode(parameters[name]) for name, encode in widths)
        + items(map(validator, genesis["validators"]))
        + items(items(map(u32, seats)) for seats in genesis["seats"])
        + items(map(account, genesis["accounts"]))
    )


def genesis_chain_id(genesis: dict[str, Any]) -> bytes:
    return derived_hash("genesis", genesis_bytes(genesis))


# --------------------------------------------------------------------------------------------------
# Keys
# --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Account:
    """An ed25519 key and the address that it first controls."""

    key: SigningKey
    address: bytes = field(init=False)

    def __post_init__(self) -> None:
        public_key = bytes(self.key.verify_key)
        object.__setattr__(self, "address", address_of_key(ED25519, public_key))

    @classmethod
    def from_file(cls, path: Path) -> Account:
        """Reads an unencrypted (development) key file."""
        file = json.loads(path.read_text())
        secret = file["secret"]
        if (secret["kind"], secret["material"]) != ("plain", "ed25519-seed"):
            raise ValueError(f"{path}: only unencrypted ed25519 seeds are read here")
        account = cls(SigningKey(_hex(secret["value"], 32)))
        if address_text(account.address) != file["address"]:
            raise ValueError(f"{path}: the key does not make the address {file['address']}")
        return account

    @classmethod
    def new_in(cls, chain: str, shard_depth: int) -> Account:
        """A random account that lives on `chain`."""
        while True:
            account = cls(SigningKey.generate())
            if home_chain(account.address, shard_depth) == chain:
                return account


# --------------------------------------------------------------------------------------------------
# gRPC by reflection
# --------------------------------------------------------------------------------------------------


class Refused(Exception):
    """An error of the node with the reason from its ErrorInfo, such as `NONCE_TOO_LOW`."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(f"{reason}: {message}")
        self.reason = reason


class Client:
    """Calls any unary method of any service that the node describes.

    `client.call("StateService", "GetAccount", address="sk1…")` returns the reply message.
    """

    def __init__(self, target: str) -> None:
        import grpc
        from google.protobuf import descriptor_pool

        self._channel = grpc.insecure_channel(target.removeprefix("http://"))
        self._pool = descriptor_pool.DescriptorPool()
        self._files: set[str] = set()
        self._methods: dict[tuple[str, str], Any] = {}

    def close(self) -> None:
        self._channel.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def call(self, service: str, method: str, timeout: float = 60.0, **fields: Any) -> Any:
        import grpc

        invoke, request = self._method(service, method)
        try:
            return invoke(request(**fields), timeout=timeout)
        except grpc.RpcError as error:
            raise self._refused(error) from error

    def enum_value(self, enum: str, name: str) -> int:
        """The number of an enum's value, e.g. `("Stage", "STAGE_RETURNED")`."""
        return self._pool.FindEnumTypeByName(f"skerry.v1.{enum}").values_by_name[name].number

    def enum_name(self, enum: str, number: int) -> str:
        return self._pool.FindEnumTypeByName(f"skerry.v1.{enum}").values_by_number[number].name

    def learn(self, service: str) -> None:
        """Makes the messages and enums of a service known."""
        self._learn(file_containing_symbol=f"skerry.v1.{service}")

    def _method(self, service: str, method: str) -> tuple[Any, Any]:
        from google.protobuf import message_factory

        known = self._methods.get((service, method))
        if known is None:
            name = f"skerry.v1.{service}"
            self.learn(service)
            found = self._pool.FindServiceByName(name).methods_by_name[method]
            request = message_factory.GetMessageClass(found.input_type)
            response = message_factory.GetMessageClass(found.output_type)
            invoke = self._channel.unary_unary(
                f"/{name}/{method}",
                request_serializer=request.SerializeToString,
                response_deserializer=response.FromString,
            )
            known = self._methods[service, method] = invoke, request
        return known

    def _learn(self, **question: str) -> None:
        """Asks for a file by symbol or name and adds it to the pool after its imports."""
        from google.protobuf import descriptor_pb2

        files = {}
        for raw in self._reflect(**question):
            file = descriptor_pb2.FileDescriptorProto.FromString(raw)
            files[file.name] = file

        def add(file: Any) -> None:
            if file.name in self._files:
                return
            self._files.add(file.name)
            for name in file.dependency:
                if name in files:
                    add(files[name])
                elif name not in self._files:
                    self._learn(file_by_filename=name)
            self._pool.Add(file)

        for file in list(files.values()):
            add(file)

    def _reflect(self, **question: str) -> list[bytes]:
        import grpc
        from grpc_reflection.v1alpha import reflection_pb2 as wire

        # Both versions of the protocol have the same messages; newer servers may speak only v1.
        for version in ("v1", "v1alpha"):
            ask = self._channel.stream_stream(
                f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
                request_serializer=wire.ServerReflectionRequest.SerializeToString,
                response_deserializer=wire.ServerReflectionResponse.FromString,
            )
            try:
                reply = next(ask(iter([wire.ServerReflectionRequest(**question)]), timeout=30))
            except grpc.RpcError as error:
                if error.code() != grpc.StatusCode.UNIMPLEMENTED:
                    raise
                continue
            if reply.HasField("error_response"):
                raise LookupError(f"{question}: {reply.error_response.error_message}")
            return list(reply.file_descriptor_response.file_descriptor_proto)
        raise LookupError("the node does not offer reflection")

    @staticmethod
    def _refused(error: Any) -> Refused:
        from google.rpc import error_details_pb2
        from grpc_status import rpc_status

        status = rpc_status.from_call(error)
        for detail in status.details if status else ():
            info = error_details_pb2.ErrorInfo()
            if detail.Unpack(info):
                return Refused(info.reason.removeprefix("ERROR_REASON_"), status.message)
        return Refused(error.code().name, error.details())


class Wallet:
    """Transfers from one account, on the network of one genesis."""

    def __init__(self, client: Client, account: Account, genesis: dict[str, Any]) -> None:
        self.client, self.account = client, account
        self.chain_id = genesis_chain_id(genesis)
        self.shard_depth: int = genesis["shard_depth"]
        client.learn("TransactionService")
        named = client.call("NodeService", "GetNodeInfo").chain_id
        if _hex(named, 32) != self.chain_id:
            raise ValueError(f"the node serves {named}, the genesis is 0x{self.chain_id.hex()}")

    def read(self, address: bytes) -> Any:
        """The account's record at the newest final executed block, with the anchor of the read."""
        return self.client.call("StateService", "GetAccount", address=address_text(address))

    def balance(self, address: bytes, denom: bytes, chain: str = "", height: int = 0) -> int:
        """A balance in a state at least as new as block `height` of `chain`."""
        import time

        deadline = time.monotonic() + 30
        while True:
            reply = self.read(address)
            if not chain or reply.anchor.chain != chain or reply.anchor.block.height >= height:
                break
            if time.monotonic() > deadline:
                raise TimeoutError(f"{chain} has not executed block {height}")
            time.sleep(0.05)
        held = {asset.denom: int(asset.amount) for asset in reply.account.balances}
        return held.get(denom_text(denom), 0)

    def transfer_body(self, recipient: bytes, asset: Asset) -> TransactionBody:
        """An unsigned transfer with the account's next nonce and the exact gas."""
        reply = self.read(self.account.address)
        valid_until = reply.anchor.beacon.height + 1_000
        bundle = transfer_bundle(recipient, asset, valid_until)
        terms = (self.chain_id, self.account.address, 0, reply.account.next_nonce, valid_until)
        draft = TransactionBody(*terms, gas_limit=0, gas_price=0, bundle=bundle).encode()
        fee = self.client.call("TransactionService", "EstimateFee", transaction_body=draft)
        return TransactionBody(*terms, fee.gas, int(fee.gas_price), bundle)

    def submit(self, wire: bytes, stage: str = "STAGE_RETURNED") -> Any:
        """Submits wire bytes and waits for a stage; returns the status."""
        reply = self.client.call(
            "TransactionService",
            "SubmitTransaction",
            signed_transaction=wire,
            wait_for=self.client.enum_value("Stage", stage),
            wait_timeout_ms=30_000,
        )
        return reply.status
