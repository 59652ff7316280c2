"""Checks how epochs.py accounts for skipped views; needs no node.

    python3 -m unittest discover --start-directory scripts
"""

import unittest
from typing import Any

from epochs import Away, explain, rotation, table

COMPLETE_MS = 1_000
AWAY = Away(validator=3, from_ms=5_000, until_ms=9_000)


def skipped(view: int, leader: int, after_ms: int, before_ms: int | None) -> dict[str, Any]:
    return {"view": view, "leader": leader, "after_ms": after_ms, "before_ms": before_ms}


def chain(*views: dict[str, Any], epoch: int = 4, more: int = 0) -> dict[str, Any]:
    """A chain with one ended epoch of 100 views, the last working block in view 90."""
    return {
        "chain": "shard-0/1",
        "epochs": [
            {
                "epoch": epoch,
                "members": [{"validator": 3, "weight": 2}, {"validator": 5, "weight": 1}],
                "blocks": 95,
                "view": 100,
                "working_view": 90,
                "sealed": True,
                "skipped_count": len(views) + more,
                "skipped": list(views),
            }
        ],
    }


class Explain(unittest.TestCase):
    def test_turns_of_the_killed_one_are_explained_only_while_it_is_away(self) -> None:
        report = chain(
            skipped(20, 3, 4_900, 5_100),  # It died in this turn.
            skipped(40, 3, 7_000, 8_000),
            skipped(60, 3, 8_900, 9_500),  # It came back in this one.
            skipped(70, 3, 9_600, 9_900),
            skipped(80, 5, 7_000, 8_000),  # Somebody else's.
        )
        account = explain(report, COMPLETE_MS, AWAY)
        self.assertEqual((account.away, account.at_changes, account.skipped), (3, 0, 5))
        self.assertEqual(
            account.unexplained,
            ["epoch 4 view 70 of 100, turn of v3", "epoch 4 view 80 of 100, turn of v5"],
        )

    def test_an_epoch_change_explains_two_on_its_two_sides_together(self) -> None:
        ended = chain(skipped(91, 5, 2_000, 2_100), skipped(99, 5, 2_200, None))
        begun = chain(skipped(1, 5, 2_200, 2_300), skipped(4, 3, 2_400, 2_500), epoch=5)
        ended["epochs"] += begun["epochs"]
        account = explain(ended, COMPLETE_MS, AWAY)
        self.assertEqual(account.changes, {5: 2})
        self.assertEqual(len(account.unexplained), 2)
        self.assertEqual((account.epochs, account.views, account.blocks), (2, 200, 190))

    def test_later_views_are_no_part_of_a_change(self) -> None:
        account = explain(chain(skipped(5, 5, 2_000, 2_100)), COMPLETE_MS, AWAY)
        self.assertEqual((account.at_changes, len(account.unexplained)), (0, 1))

    def test_the_start_is_counted_apart(self) -> None:
        report = chain(skipped(1, 5, 500, 1_100), skipped(2, 5, 1_100, 1_200), epoch=0)
        account = explain(report, COMPLETE_MS, AWAY)
        self.assertEqual((account.start, len(account.unexplained)), (1, 1))

    def test_what_is_counted_and_not_named_is_unexplained(self) -> None:
        account = explain(chain(more=7), COMPLETE_MS, AWAY)
        self.assertEqual((account.skipped, len(account.unexplained)), (7, 7))


class Text(unittest.TestCase):
    def test_seats_are_listed_one_by_one(self) -> None:
        self.assertEqual(rotation(chain()), [(4, [3, 3, 5])])
        self.assertEqual(rotation(chain() | {"chain": "beacon"}), [(4, [3, 5])])

    def test_columns_are_aligned(self) -> None:
        self.assertEqual(table([["a", "bcd"], ["efg", 1]]), "a    bcd\nefg    1")


if __name__ == "__main__":
    unittest.main()
