//! Who touches what: the transactions of a block planned in parts, the objects grouped in parts.
//!
//! A transaction *spends* from its sender: it uses a nonce, and takes the fee and what it attaches.
//! Those who spend from one account go on from each other's nonce, so they are a lane; who only adds
//! to the account is in it, too, unless the account is covered (`cover.rs`).

use super::cover::{Cover, Take};
use super::{Platform, Shared};
use crate::plan::Access;
use crate::transaction::{Prepared, prepare};
use skerry_types::ids::Address;

/// Consecutive transactions that one worker plans; the next as many are the next one's, and so on.
/// So all go through the block at one pace, and most of what a worker plans it can run, too.
const STRIPE: u32 = 64;

/// A part of a block, planned.
pub(super) struct Chunk {
    prepared: Vec<Prepared>,
    /// Gas of each, as a measure of its work.
    weights: Vec<u64>,
    takes: Vec<Take>,
    /// Positions of those that one worker must run.
    pub(super) pinned: Vec<u32>,
    /// Whether every touch is in it.
    pub(super) is_whole: bool,
    /// Every touched object.
    owners: Vec<Address>,
    /// By part of the objects, [`Touch`]es as numbers.
    touches: Vec<Vec<u128>>,
}

/// An object that several transactions share and that not all of them only read or only add to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Group {
    /// The object.
    pub(super) owner: Address,
    /// Positions of the transactions that have to be in order, increasing.
    pub(super) transactions: Vec<u32>,
    /// How many more touch it in no order, and leave records that are handed over with it.
    pub(super) others: usize,
}

/// The groups among one part of the objects.
#[derive(Debug, Default)]
pub(super) struct Groups {
    /// Those in which something is to be in order.
    pub(super) lanes: Vec<Group>,
    /// How many accounts are spent from and added to, and covered.
    pub(super) covered: usize,
}

/// How a transaction touches an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Use {
    /// A call reads it.
    Read,
    /// A call adds to it.
    Add,
    /// It is the sender.
    Spend,
    /// A call does with it what it wants.
    Write,
}

impl Use {
    const fn by_call(access: Access) -> Self {
        match access {
            Access::Read => Self::Read,
            Access::AddOnly => Self::Add,
            Access::Exclusive => Self::Write,
        }
    }
}

/// A transaction touches an object. As a number, objects come first, then transactions, so sorting
/// the numbers groups them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Touch {
    /// A middle part of the object's id; see [`middle`].
    object: u64,
    /// Position of the transaction.
    transaction: u32,
    how: Use,
    /// Place of the object among the owners of the transaction's chunk.
    owner: u32,
}

const OWNER_BITS: u32 = 30;

impl Touch {
    fn pack(self) -> u128 {
        let how = match self.how {
            Use::Read => 0_u128,
            Use::Add => 1,
            Use::Spend => 2,
            Use::Write => 3,
        };
        (u128::from(self.object) << 64)
            | (u128::from(self.transaction) << 32)
            | (how << OWNER_BITS)
            | u128::from(self.owner)
    }

    fn unpack(packed: u128) -> Self {
        let low = |bits: u128| u32::try_from(bits & u128::from(u32::MAX)).unwrap_or(0);
        let last = low(packed);
        Self {
            object: u64::try_from(packed >> 64).unwrap_or(0),
            transaction: low(packed >> 32),
            how: match last >> OWNER_BITS {
                0 => Use::Read,
                1 => Use::Add,
                2 => Use::Spend,
                _ => Use::Write,
            },
            owner: last & ((1 << OWNER_BITS) - 1),
        }
    }
}

/// Eight bytes of an id behind its locality, which is the same for all of a shard but a few bits.
/// Whoever wants can make objects with the same: they are told apart where it is there twice.
fn middle(owner: &Address) -> u64 {
    let bytes = owner.as_bytes().get(2..).and_then(<[u8]>::first_chunk::<8>);
    u64::from_be_bytes(bytes.copied().unwrap_or_default())
}

/// Which of `parts` an object belongs to.
fn part_of(object: u64, parts: usize) -> usize {
    let wide = u128::from(object).saturating_mul(u128::try_from(parts).unwrap_or(1));
    usize::try_from(wide >> 64).unwrap_or(0)
}

impl Chunk {
    /// Plans the part of the block that is a worker's.
    pub(super) fn plan<P: Platform>(shared: &Shared<'_, P>, worker: usize) -> Self {
        let (count, parts) = (shared.transactions.len(), shared.workers);
        let mine = count.checked_div(parts).unwrap_or(0);
        let mine = mine.saturating_add(usize::try_from(STRIPE).unwrap_or(0));
        let expected = mine.saturating_mul(3);
        let mut chunk = Self {
            prepared: Vec::with_capacity(mine),
            weights: Vec::with_capacity(mine),
            takes: Vec::with_capacity(mine),
            pinned: Vec::new(),
            is_whole: true,
            owners: Vec::with_capacity(expected),
            touches: Vec::new(),
        };
        let each = expected.checked_div(parts).unwrap_or(0);
        chunk
            .touches
            .resize_with(parts, || Vec::with_capacity(each));
        for (position, transaction) in (0..).zip(shared.transactions) {
            if planner_of(position, parts) != worker {
                continue;
            }
            let prepared = prepare(shared.context, shared.modules, shared.base_fee, transaction);
            if let Ok((calls, gas)) = &prepared.calls {
                let body = transaction.body();
                chunk.weights.push(gas.get());
                chunk.takes.push(Take::of(transaction, *gas));
                // Nonce, fee and what is attached; what is left at the end is added.
                chunk.touch(position, &body.sender, Use::Spend);
                if calls.leave() {
                    chunk.pinned.push(position);
                } else {
                    for (owner, access) in calls.objects() {
                        chunk.touch(position, owner, Use::by_call(*access));
                    }
                }
            } else {
                chunk.weights.push(0);
                chunk.takes.push(Take::default());
            }
            chunk.prepared.push(prepared);
        }
        chunk
    }

    fn touch(&mut self, transaction: u32, owner: &Address, how: Use) {
        let object = middle(owner);
        let place = u32::try_from(self.owners.len()).unwrap_or(u32::MAX);
        let part = part_of(object, self.touches.len());
        let fits = place < 1 << OWNER_BITS;
        match self.touches.get_mut(part).filter(|_| fits) {
            Some(touches) => {
                self.owners.push(*owner);
                let touch = Touch {
                    object,
                    transaction,
                    how,
                    owner: place,
                };
                touches.push(touch.pack());
            }
            None => self.is_whole = false,
        }
    }

    fn owner(&self, touch: &Touch) -> Option<&Address> {
        self.owners.get(usize::try_from(touch.owner).ok()?)
    }
}

/// Who plans the transaction at a position.
pub(super) fn planner_of(position: u32, workers: usize) -> usize {
    let stripe = usize::try_from(position / STRIPE).unwrap_or(0);
    stripe.checked_rem(workers).unwrap_or(0)
}

/// The chunk of the transaction at a position, and its place there.
fn place_of<'c>(chunks: &[&'c Chunk], position: u32) -> Option<(&'c Chunk, usize)> {
    let chunk = chunks.get(planner_of(position, chunks.len()))?;
    let round = usize::try_from(position / STRIPE).ok()?;
    let round = round.checked_div(chunks.len())?;
    let before = round.checked_mul(usize::try_from(STRIPE).ok()?)?;
    let place = before.checked_add(usize::try_from(position % STRIPE).ok()?)?;
    Some((chunk, place))
}

/// The plan of the transaction at a position.
pub(super) fn prepared<'c>(chunks: &[&'c Chunk], position: u32) -> Option<&'c Prepared> {
    let (chunk, place) = place_of(chunks, position)?;
    chunk.prepared.get(place)
}

/// What the transaction at a position may take from its sender.
pub(super) fn take(chunks: &[&Chunk], position: u32) -> Option<Take> {
    let (chunk, place) = place_of(chunks, position)?;
    chunk.takes.get(place).copied()
}

/// The weights of all transactions, in their order.
pub(super) fn weights(chunks: &[&Chunk]) -> Vec<u64> {
    let weight = |position: u32| {
        let (chunk, place) = place_of(chunks, position)?;
        chunk.weights.get(place).copied()
    };
    (0..).map_while(weight).collect()
}

/// The groups among one part of the objects; `None` when a plan is missing.
pub(super) fn group(chunks: &[&Chunk], part: usize, cover: &Cover<'_>) -> Option<Groups> {
    let mut all = Vec::new();
    for chunk in chunks {
        all.extend_from_slice(chunk.touches.get(part)?);
    }
    all.sort_unstable();
    let mut groups = Groups::default();
    let mut uses = Vec::new();
    for run in all.chunk_by(|left, right| left >> 64 == right >> 64) {
        if run.len() < 2 {
            continue;
        }
        uses.clear();
        for touch in run.iter().map(|packed| Touch::unpack(*packed)) {
            let chunk = chunks.get(planner_of(touch.transaction, chunks.len()))?;
            uses.push((chunk.owner(&touch)?, touch.transaction, touch.how));
        }
        // Nearly always they are all of one object.
        let is_one = |(first, ..): &UseOf<'_>| uses.iter().all(|(owner, ..)| owner == first);
        if !uses.first().is_some_and(is_one) {
            uses.sort_by_key(|(owner, transaction, _)| (*owner, *transaction));
        }
        for of_one in uses.chunk_by(|(left, ..), (right, ..)| left == right) {
            groups.push(of_one, cover);
        }
    }
    Some(groups)
}

/// A use of an object by the transaction at a position.
type UseOf<'c> = (&'c Address, u32, Use);

impl Groups {
    /// Adds what shares one object, where there is something to order.
    fn push(&mut self, uses: &[UseOf<'_>], cover: &Cover<'_>) {
        let (mut reads, mut adds, mut spends, mut writes) = (false, false, false, false);
        for (.., how) in uses {
            match how {
                Use::Read => reads = true,
                Use::Add => adds = true,
                Use::Spend => spends = true,
                Use::Write => writes = true,
            }
        }
        let is_ordered = writes || spends || reads && adds;
        let Some((owner, ..)) = uses.first().filter(|_| is_ordered) else {
            return;
        };
        let mut transactions = positions(uses, |_| true);
        let mut others = 0;
        if spends && adds && !writes && !reads && transactions.len() > 1 {
            let spending = positions(uses, |how| how == Use::Spend);
            if spending.len() < transactions.len() && cover.holds(owner, &spending) {
                self.covered = self.covered.saturating_add(1);
                others = transactions.len().saturating_sub(spending.len());
                transactions = spending;
            }
        }
        if transactions.len() > 1 {
            self.lanes.push(Group {
                owner: **owner,
                transactions,
                others,
            });
        }
    }
}

/// The transactions of uses that are in their order, each once.
fn positions(uses: &[UseOf<'_>], is_meant: impl Fn(Use) -> bool) -> Vec<u32> {
    let meant = uses.iter().filter(|(.., how)| is_meant(*how));
    let mut positions: Vec<u32> = meant.map(|(_, transaction, _)| *transaction).collect();
    positions.dedup();
    positions
}
