//! What the parts of a block changed, put together in order of key.
//!
//! The lowest layer is what was touched before the transactions, the uppermost what was touched
//! after them; between the two lie the parts that ran beside each other. Where there were none, the
//! uppermost layer is all. Any part of the keys can be put together by itself, so several threads can.

use super::table::{Entry, Table};
use crate::view::{encode_amount, read_amount};
use skerry_types::amount::Amount;
use skerry_types::ids::Address;
use skerry_types::state::{StateKey, Value, Write};

/// Two parts of a block changed one record, and not by adding to an amount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Contradiction;

/// What was touched, with its owners in order.
pub(crate) struct Sorted {
    table: Table,
    order: Vec<(u64, u32)>,
}

impl Sorted {
    pub(super) fn new(table: Table) -> Self {
        Self {
            order: table.in_order(),
            table,
        }
    }

    /// What was touched of a key.
    pub(super) fn entry(&self, key: &StateKey) -> Option<&Entry> {
        self.table.entry(self.table.find(key)?)
    }
}

/// All layers of a block, the lowest first.
pub(crate) struct Layers(pub(super) Vec<Sorted>);

/// An owner's changed record, with the number of its layer.
type Changed<'t> = (usize, &'t Entry);

/// The owners of one layer that are left, in order.
struct Head<'t> {
    layer: usize,
    table: &'t Table,
    left: &'t [(u64, u32)],
}

impl<'t> Head<'t> {
    /// The next owner, as it is ordered.
    fn next(&self) -> Option<(u64, &'t Address)> {
        let (prefix, object) = *self.left.first()?;
        Some((prefix, self.table.owner(object)?))
    }

    /// Takes the next owner's records that changed.
    fn take(&mut self, into: &mut Vec<Changed<'t>>) {
        if let Some(((_, object), left)) = self.left.split_first() {
            self.left = left;
            let entries = self.table.of_object(*object);
            let changed = entries.filter(|entry| entry.is_changed());
            into.extend(changed.map(|entry| (self.layer, entry)));
        }
    }
}

impl Layers {
    /// What changed of one of so many parts of the keys, in order.
    ///
    /// # Errors
    /// When parts that ran beside each other did what they could not have.
    pub(crate) fn writes(&self, part: usize, parts: usize) -> Result<Vec<Write>, Contradiction> {
        let [from, to] = [part, part.saturating_add(1)].map(|part| self.cut(part, parts));
        let mut room = 0_usize;
        let mut heads = Vec::with_capacity(self.0.len());
        for (layer, Sorted { table, order }) in self.0.iter().enumerate() {
            let [from, to] = [from, to].map(|cut| {
                let before = |(prefix, _): &(u64, u32)| cut.is_none_or(|cut| *prefix < cut);
                order.partition_point(before)
            });
            let left = order.get(from..to).unwrap_or(&[]);
            if !left.is_empty() {
                let counts = left.iter().map(|(_, object)| table.count(*object));
                room = counts.fold(room, usize::saturating_add);
                heads.push(Head { layer, table, left });
            }
        }
        let mut writes = Vec::with_capacity(room);
        let mut changed = Vec::new();
        while let Some(owner) = take_next(&mut heads, &mut changed) {
            self.settle(owner, &mut changed, &mut writes)?;
        }
        Ok(writes)
    }

    /// The prefix with which a part of the keys begins; `None` behind all of them.
    fn cut(&self, part: usize, parts: usize) -> Option<u64> {
        if part == 0 {
            return Some(0);
        }
        if part >= parts {
            return None;
        }
        let largest = self.0.iter().max_by_key(|layer| layer.order.len())?;
        let place = largest.order.len().saturating_mul(part);
        let place = place.checked_div(parts).unwrap_or(0);
        // Where there are no owners at all, one part may as well have all of them.
        largest.order.get(place).map(|(prefix, _)| *prefix)
    }

    /// Writes what an owner's changed records come to.
    fn settle(
        &self,
        owner: &Address,
        changed: &mut Vec<Changed<'_>>,
        writes: &mut Vec<Write>,
    ) -> Result<(), Contradiction> {
        if changed.len() > 1 {
            changed.sort_unstable_by(|(layer, left), (other, right)| {
                let own = (left.module, &left.local, layer);
                own.cmp(&(right.module, &right.local, other))
            });
        }
        for of_key in changed.chunk_by(|(_, left), (_, right)| is_same(left, right)) {
            let (entry, value) = match of_key {
                [(_, entry)] => (entry, entry.value.clone()),
                [(_, first), ..] => {
                    let value = self.last(of_key)?;
                    if value == first.original {
                        continue;
                    }
                    (first, value)
                }
                [] => continue,
            };
            let key = StateKey::new(*owner, entry.module, entry.local.clone());
            writes.push((key, value));
        }
        changed.clear();
        Ok(())
    }

    /// What a key holds in the end that several layers changed.
    fn last(&self, of_key: &[Changed<'_>]) -> Result<Option<Value>, Contradiction> {
        let uppermost = self.0.len().saturating_sub(1);
        match of_key {
            [.., (layer, entry)] if *layer == uppermost => Ok(entry.value.clone()),
            [(0, lowest)] => Ok(lowest.value.clone()),
            [(0, _), beside @ ..] | beside => sum(beside.iter().map(|(_, entry)| *entry)),
        }
    }
}

fn is_same(left: &Entry, right: &Entry) -> bool {
    left.module == right.module && left.local == right.local
}

/// Takes the changed records of the least of the next owners.
fn take_next<'t>(heads: &mut Vec<Head<'t>>, changed: &mut Vec<Changed<'t>>) -> Option<&'t Address> {
    if let [head] = heads.as_mut_slice() {
        let (_, owner) = head.next()?;
        head.take(changed);
        return Some(owner);
    }
    let (least, owner) = heads.iter().filter_map(Head::next).min()?;
    let mut is_over = false;
    for head in heads.iter_mut() {
        if head.next() == Some((least, owner)) {
            head.take(changed);
            is_over |= head.left.is_empty();
        }
    }
    if is_over {
        heads.retain(|head| !head.left.is_empty());
    }
    Some(owner)
}

/// What a key holds that parts changed which ran beside each other, each above the same: an amount
/// that they added to, and took no more from than it was before.
///
/// # Errors
/// When it is no amount, more was taken or the sum is too large: one would have seen what the other
/// did.
pub(super) fn sum<'t>(
    entries: impl Iterator<Item = &'t Entry> + Clone,
) -> Result<Option<Value>, Contradiction> {
    let mut all = entries.clone();
    match (all.next(), all.next()) {
        (None, _) => Ok(None),
        (Some(only), None) => Ok(only.value.clone()),
        (Some(first), Some(_)) => {
            let before = amount(first.original.as_ref())?;
            let (mut left, mut added) = (before, Amount::ZERO);
            for entry in entries {
                let after = amount(entry.value.as_ref())?;
                if let Some(more) = after.checked_sub(before) {
                    added = added.checked_add(more).ok_or(Contradiction)?;
                } else {
                    let taken = before.checked_sub(after).ok_or(Contradiction)?;
                    left = left.checked_sub(taken).ok_or(Contradiction)?;
                }
            }
            let sum = left.checked_add(added).ok_or(Contradiction)?;
            Ok(encode_amount(sum))
        }
    }
}

fn amount(value: Option<&Value>) -> Result<Amount, Contradiction> {
    value.map_or(Ok(Amount::ZERO), |value| {
        read_amount(value).ok_or(Contradiction)
    })
}
