//! Whether the vote log knows what final blocks show of the own key.
//!
//! A log that was restored from a copy looks whole. What it lacks shows in blocks that are caught up
//! with: a working block names those who notarized its parent. The log is written in order, and what
//! is left out of it when it grows long lies below a floor that it keeps. So a notarize *above*
//! everything that the log held when the node started, and below the first that this run has signed,
//! was never in it: another node runs the key, or this log is not its newest. There is no other way
//! to such a vote, so nobody falls mute by mistake; the proposer's word is not enough either, the
//! signature is checked.
//!
//! Blocks that this node votes on itself need no such look, the core sees their certificates. Idle
//! blocks name nobody.

use super::{ChainNode, Output};
use skerry_consensus::log::VoteRecord;
use skerry_storage::ChainStore;
use skerry_types::block::{Body, Header};
use skerry_types::certificate::Certificate;
use skerry_types::codec::decode;
use skerry_types::committee::VerifyingCommittee;
use skerry_types::crypto::bls::PublicKey;
use skerry_types::crypto::scheme::VoteScheme;
use skerry_types::ids::{ChainRef, Digest, Epoch, MemberIndex, View};
use skerry_types::limits::BODY_BYTES_MAX;
use skerry_types::vote::Statement;

/// Most signatures that are checked for one range of blocks, or at a start: proposers may claim votes
/// that nobody cast.
const CHECKS_MAX: usize = 16;
/// Most stored blocks that are looked at when a node starts.
const STORED_MAX: usize = 256;

/// Which notarize votes of a chain the log would hold, had the key cast them.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct KnownVotes {
    /// The newest place that the log speaks of at the start.
    logged: (Epoch, View),
    /// Where this run has first notarized.
    signed_from: Option<(Epoch, View)>,
}

impl KnownVotes {
    /// As a log begins a run.
    pub(super) fn of(log: &[VoteRecord], chain: ChainRef) -> Self {
        let own = log
            .iter()
            .filter(|record| record.chain == chain && !record.entry.is_of_key());
        let places = own.map(|record| (record.epoch, record.entry.view()));
        Self {
            logged: places.max().unwrap_or_default(),
            signed_from: None,
        }
    }

    /// This run has signed something.
    pub(super) fn on_signed(&mut self, epoch: Epoch, statement: &Statement) {
        if let Statement::Notarize { view, .. } = statement {
            self.signed_from.get_or_insert((epoch, *view));
        }
    }

    /// Whether the key has cast no notarize here that this log has held.
    fn lacks(&self, place: (Epoch, View)) -> bool {
        place > self.logged && self.signed_from.is_none_or(|from| place < from)
    }

    /// The notarization that a block names, where a member is among the signers and the log lacks its
    /// vote. It is not verified.
    fn suspicious(
        &self,
        header: &Header,
        body: &Body,
        (me, members): (MemberIndex, usize),
    ) -> Option<Certificate> {
        let votes = body.parent_votes.as_ref()?;
        let signers = votes.signers.members(members)?;
        let is_foreign = signers.contains(&me) && self.lacks((header.epoch, votes.view));
        is_foreign.then(|| Certificate {
            statement: Statement::Notarize {
                view: votes.view,
                digest: header.parent,
            },
            signers: votes.signers.clone(),
            signature: votes.signature,
        })
    }

    /// The first vote of a member, in blocks of one epoch, that the log lacks.
    fn find_foreign<'b>(
        &self,
        blocks: impl Iterator<Item = (&'b Header, &'b Body)>,
        (committee, me): (&VerifyingCommittee, MemberIndex),
        scheme: &dyn VoteScheme,
    ) -> Option<Statement> {
        let member = (me, committee.committee().members.len());
        let mut claims = blocks
            .filter_map(|(header, body)| self.suspicious(header, body, member))
            .take(CHECKS_MAX);
        let found = claims.find(|claim| claim.verify(committee, scheme).is_ok());
        found.map(|claim| claim.statement)
    }

    /// The same in the newest final blocks of a store, as far as they are of the committee's epoch and
    /// above the log: for a log that was restored beside newer data.
    ///
    /// What cannot be read counts as absent; that says so elsewhere.
    pub(super) fn find_stored(
        &self,
        store: &ChainStore,
        (committee, key): (&VerifyingCommittee, &PublicKey),
        scheme: &dyn VoteScheme,
    ) -> Option<(Epoch, Statement)> {
        let epoch = committee.instance().epoch;
        let members = &committee.committee().members;
        let me = members.iter().position(|it| it.public_key == *key)?;
        let me = MemberIndex::new(u16::try_from(me).ok()?);
        let mut height = store.finalized()?.height;
        let mut blocks = Vec::new();
        for _ in 0..STORED_MAX {
            let Some(block) = store.block_at(height).ok().flatten() else {
                break;
            };
            // What it names is of an earlier view.
            let header = block.header;
            if header.epoch != epoch || (epoch, header.view) <= self.logged {
                break;
            }
            if let Ok(body) = decode::<Body>(&block.body, BODY_BYTES_MAX) {
                // All else of it is of no interest here.
                let parent_votes = body.parent_votes;
                let body = Body {
                    parent_votes,
                    ..Body::default()
                };
                blocks.push((header, body));
            }
            height = height.saturating_sub(1);
        }
        let blocks = blocks.iter().map(|(header, body)| (header, body));
        let found = self.find_foreign(blocks, (committee, me), scheme);
        found.map(|statement| (epoch, statement))
    }
}

impl ChainNode {
    /// Looks whether final blocks that were caught up with show a vote of the own key that its log
    /// lacks.
    pub(super) fn check_history(&mut self, digests: &[Digest], out: &mut Vec<Output>) {
        let Some((me, _)) = &self.instance.voter else {
            return;
        };
        let entries = digests.iter().filter_map(|digest| self.tree.get(digest));
        let blocks = entries.filter_map(|entry| {
            let body = entry.prepared.body.as_ref()?;
            Some((&*entry.header, body.body()))
        });
        let member = (&*self.instance.committee, *me);
        let scheme = &*self.shared.scheme;
        let found = self.known_votes.find_foreign(blocks, member, scheme);
        if let Some(statement) = found {
            let what = format!("{statement:?}");
            self.on_signed_elsewhere(self.instance.epoch(), &what, out);
        }
    }
}

#[cfg(test)]
mod tests;
