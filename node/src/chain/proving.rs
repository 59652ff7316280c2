//! How many words of others a chain has checked at a time: batches, cross-links, and newcomers that
//! say they are ready. A check takes a millisecond or more and anybody may ask for one, so that they
//! are rationed: what finds no room is dropped, since all of it is said again.

use super::Peer;
use skerry_types::ids::Digest;
use std::collections::BTreeMap;

/// Most checks that wait or run at once. Their worker's queue holds more, so that nobody waits for it.
pub const PROVING_MAX: usize = 64;
/// Most of them for one peer.
const OF_ONE_MAX: usize = 8;
/// Most of them for what came by gossip, whoever said it first.
const OF_GOSSIP_MAX: usize = 24;

/// Who asks for a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Teller {
    /// A peer, over its own stream.
    Peer(Peer),
    /// Nobody that could be named.
    Gossip,
}

/// The checks that wait or run: of whose word, and whose they are.
#[derive(Debug, Default)]
pub(super) struct Proving {
    open: BTreeMap<Digest, Teller>,
}

impl Proving {
    /// Begins the check of a word, unless it runs already or finds no room.
    pub(super) fn begin(&mut self, word: Digest, teller: Teller) -> bool {
        let of_one = match teller {
            Teller::Peer(_) => OF_ONE_MAX,
            Teller::Gossip => OF_GOSSIP_MAX,
        };
        let theirs = self.open.values().filter(|it| **it == teller).count();
        let is_full = self.open.len() >= PROVING_MAX || theirs >= of_one;
        if is_full || self.open.contains_key(&word) {
            return false;
        }
        self.open.insert(word, teller);
        true
    }

    /// Ends it, and says who had asked.
    pub(super) fn end(&mut self, word: &Digest) -> Option<Teller> {
        self.open.remove(word)
    }

    /// Checks that wait or run.
    pub(super) fn len(&self) -> usize {
        self.open.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(number: usize) -> Digest {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&number.to_le_bytes());
        Digest::new(bytes)
    }

    /// How many of 1,000 words find room.
    fn taken(proving: &mut Proving, from: usize, teller: Teller) -> usize {
        let words = (from..from + 1_000).map(word);
        words.filter(|word| proving.begin(*word, teller)).count()
    }

    #[test]
    fn nobody_takes_the_room_of_others() {
        let mut proving = Proving::default();
        assert_eq!(taken(&mut proving, 0, Teller::Gossip), OF_GOSSIP_MAX);
        assert_eq!(
            taken(&mut proving, 1_000, Teller::Peer(Peer(1))),
            OF_ONE_MAX
        );
        assert_eq!(
            taken(&mut proving, 2_000, Teller::Peer(Peer(2))),
            OF_ONE_MAX
        );
    }

    #[test]
    fn all_together_have_no_more_than_the_bound() {
        let mut proving = Proving::default();
        let all = (0..100).map(|peer| {
            let from = 1_000 * usize::try_from(peer).expect("few");
            taken(&mut proving, from, Teller::Peer(Peer(peer)))
        });
        assert_eq!(all.sum::<usize>(), PROVING_MAX);
        assert_eq!(proving.len(), PROVING_MAX);
    }

    #[test]
    fn a_word_is_checked_once_at_a_time_and_gives_its_room_back() {
        let mut proving = Proving::default();
        let teller = Teller::Peer(Peer(1));
        assert!(proving.begin(word(1), teller));
        assert!(!proving.begin(word(1), Teller::Gossip));
        assert_eq!(proving.end(&word(1)), Some(teller));
        assert_eq!(proving.end(&word(1)), None);
        assert!(proving.begin(word(1), Teller::Gossip));
    }
}
