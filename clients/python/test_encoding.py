"""Checks the client's encodings against types/tests/vectors.json; needs no node.

    python -m unittest test_encoding
"""

import json
import unittest
from pathlib import Path

from nacl.signing import SigningKey

import skerry_client as skerry

ROOT = Path(__file__).resolve().parents[2]
VECTORS = ROOT / "types" / "tests" / "vectors.json"


class Encoding(unittest.TestCase):
    @classmethod
    def setUpClass(cls) -> None:
        cls.vectors = json.loads(VECTORS.read_text())

    def test_version_is_the_one_known_here(self) -> None:
        self.assertEqual(skerry.VERSION, bytes([self.vectors["version"]]))

    def test_addresses(self) -> None:
        for vector in self.vectors["addresses"]:
            key_bytes = bytes.fromhex(vector["key_bytes"])
            self.assertEqual(skerry.default_locality(key_bytes), vector["default_locality"])
            address = skerry.address_of_key(vector["scheme"], key_bytes, vector["locality"])
            self.assertEqual(address.hex(), vector["bytes"])
            self.assertEqual(skerry.address_text(address), vector["text"])
            self.assertEqual(skerry.address_bytes(vector["text"]), address)
            self.assertEqual(skerry.home_chain(address, 1), vector["shard_of_2"])
            self.assertEqual(skerry.home_chain(address, 3), vector["shard_of_8"])

    def test_typing_errors_are_found(self) -> None:
        good = self.vectors["addresses"][0]["text"]
        for position in range(3, len(good)):
            typo = "p" if good[position] == "q" else "q"
            with self.assertRaises(ValueError):
                skerry.address_bytes(good[:position] + typo + good[position + 1 :])

    def test_objects_and_denoms(self) -> None:
        vector = self.vectors["objects"]["object"]
        sender = skerry.address_bytes(vector["sender"])
        nonce = (vector["stream"], vector["sequence"], vector["operation_index"])
        self.assertEqual(skerry.object_id(vector["module"], sender, *nonce).hex(), vector["bytes"])
        for vector in self.vectors["objects"]["system"]:
            name = vector["name"].encode()
            found = skerry.system_object_id(vector["module"], vector["chain"], name)
            self.assertEqual(found.hex(), vector["bytes"])
        for vector in self.vectors["denoms"]["reserved"]:
            self.assertEqual(skerry.denom_bytes(vector["text"]).hex(), vector["bytes"])
        vector = self.vectors["denoms"]["created"]
        denom = skerry.created_denom(skerry.address_bytes(vector["creator"]), vector["name"])
        self.assertEqual(denom.hex(), vector["bytes"])
        self.assertEqual(skerry.denom_text(denom), vector["text"])

    def body(self, vector: dict) -> skerry.TransactionBody:
        def assets(listed: list) -> list:
            return [skerry.Asset(skerry.denom_bytes(a["denom"]), int(a["amount"])) for a in listed]

        return skerry.TransactionBody(
            chain_id=bytes.fromhex(vector["chain_id"]),
            sender=skerry.address_bytes(vector["sender"]),
            stream=vector["stream"],
            sequence=vector["sequence"],
            valid_until=vector["valid_until"],
            gas_limit=vector["gas_limit"],
            gas_price=int(vector["gas_price"]),
            bundle=skerry.Bundle(
                assets=assets(vector["assets"]),
                operations=[
                    skerry.Operation(o["module"], bytes.fromhex(o["call"]))
                    for o in vector["operations"]
                ],
                minimum_outputs=assets(vector["minimum_outputs"]),
                deadline=vector["deadline"],
            ),
        )

    def check_body(self, vector: dict) -> skerry.TransactionBody:
        body = self.body(vector)
        self.assertEqual(body.encode().hex(), vector["body"])
        self.assertEqual(body.id().hex(), vector["id"])
        self.assertEqual(body.signing_digest().hex(), vector["signing_digest"])
        return body

    def test_transaction_of_one_key(self) -> None:
        vector = self.vectors["transactions"]["ed25519"]
        key = SigningKey(bytes.fromhex(self.vectors["transactions"]["seeds"][0]))
        wire = self.check_body(vector).sign(key)
        self.assertEqual(wire.hex(), vector["wire"])
        self.assertEqual(skerry.wire_hash(wire).hex(), vector["wire_hash"])

    def test_transaction_of_several_keys(self) -> None:
        vector = self.vectors["transactions"]["multisig"]
        body = self.check_body(vector)
        stated = vector["authenticator"]
        public = [bytes.fromhex(key) for key in stated["keys"]]
        authenticator = skerry.multisig_authenticator(stated["threshold"], public)
        seeds = (bytes.fromhex(seed) for seed in self.vectors["transactions"]["seeds"])
        keys = {bytes(key.verify_key): key for key in map(SigningKey, seeds)}
        signatures = [
            (s["position"], keys[public[s["position"]]].sign(body.signing_digest()).signature)
            for s in vector["signatures"]
        ]
        self.assertEqual(body.with_witness(authenticator, signatures).hex(), vector["wire"])
        # The address commits to version and policy.
        commitment = skerry.VERSION + authenticator
        sender = skerry.address_of_key(skerry.MULTISIG, commitment)
        self.assertEqual(skerry.address_text(sender), vector["sender"])

    def test_targets(self) -> None:
        vectors = self.vectors["transactions"]
        bundle = self.body(vectors["ed25519"]).bundle
        neighbour = skerry.address_bytes(self.vectors["addresses"][1]["text"])
        for target, vector in (
            (skerry.near(neighbour), "bundle_near"),
            (skerry.BEACON, "bundle_beacon"),
        ):
            other = skerry.Bundle(
                bundle.assets, bundle.operations, bundle.deadline, target=target
            )
            self.assertEqual(other.encode().hex(), vectors[vector])
        onward = skerry.Leg(
            skerry.BEACON,
            [skerry.Operation(7, b"onward")],
            [skerry.Asset(skerry.denom_bytes("sker"), 3)],
        )
        routed = skerry.Bundle(
            bundle.assets,
            bundle.operations,
            bundle.deadline,
            target=skerry.near(neighbour),
            onward=[onward],
        )
        self.assertEqual(routed.encode().hex(), vectors["bundle_onward"])

    def test_genesis(self) -> None:
        vector = self.vectors["genesis"]
        self.assertEqual(skerry.genesis_bytes(vector["json"]).hex(), vector["bytes"])
        self.assertEqual(skerry.genesis_chain_id(vector["json"]).hex(), vector["chain_id"])

    def test_list_roots(self) -> None:
        for vector in self.vectors["list_roots"]:
            leaves = [bytes.fromhex(item) for item in vector["items"]]
            self.assertEqual(skerry.list_root(leaves).hex(), vector["root"])

    def test_bank_send(self) -> None:
        """The example of docs/encoding.md, byte by byte."""
        recipient = bytes(range(32))
        operation = skerry.bank_send(recipient, skerry.Asset(skerry.denom_bytes("sker"), 5))
        call = "00" + recipient.hex() + "0000736b6572" + "00" * 26 + "05" + "00" * 15
        self.assertEqual(operation.encode().hex(), "0200" + "51000000" + call)

    def test_worked_example_of_the_documentation(self) -> None:
        page = (ROOT / "docs" / "encoding.md").read_text()
        block = page.split("### A transfer, worked out", 1)[1].split("```")[1]
        stated = dict(line.split() for line in block.strip().splitlines())
        sender = skerry.Account(SigningKey(bytes.fromhex(stated["seed"])))
        recipient = skerry.Account(SigningKey(b"\2" * 32)).address
        chain_id = skerry.genesis_chain_id(self.vectors["genesis"]["json"])
        asset = skerry.Asset(skerry.denom_bytes("sker"), 5 * 10**9)
        bundle = skerry.transfer_bundle(recipient, asset, 1077)
        terms = (chain_id, sender.address, 0, 0, 1077)
        body = skerry.TransactionBody(*terms, gas_limit=20_452, gas_price=10, bundle=bundle)
        wire = body.sign(sender.key)
        self.assertEqual(len(wire), 369)
        found = {
            "seed": bytes(sender.key).hex(),
            "public_key": bytes(sender.key.verify_key).hex(),
            "sender": sender.address.hex(),
            "sender_text": skerry.address_text(sender.address),
            "recipient": recipient.hex(),
            "recipient_text": skerry.address_text(recipient),
            "chain_id": chain_id.hex(),
            "call": bundle.operations[0].call.hex(),
            "body": body.encode().hex(),
            "transaction_id": body.id().hex(),
            "signing_digest": body.signing_digest().hex(),
            "wire": wire.hex(),
            "wire_hash": skerry.wire_hash(wire).hex(),
        }
        self.assertEqual(found, stated)


if __name__ == "__main__":
    unittest.main()
