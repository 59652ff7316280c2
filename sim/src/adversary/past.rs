//! What is over, brought up again: headers, certificates and batches of closed epochs; and what was
//! certified and will never be final.
//!
//! While an epoch is open, all but the Byzantine members keep their keys to themselves. Once it is
//! closed for whoever relies on it, nothing that its committee ever signed, or signs now, may count
//! there; so from then on this adversary has the keys of *all* its members, as if those had sold them,
//! and signs new headers above a quorum. It does not use them for what another rule of the protocol is
//! to bear: it offers these headers as cross-links and as proofs of batches, never as blocks of their
//! own chain.

use super::forge::Forger;
use super::{Deed, OutFrame};
use crate::checks::Place;
use crate::plan::{EPOCH_MS, Plan};
use crate::random::Random;
use skerry::wire::{Announcement, kind};
use skerry_execution::views::batch_record_key;
use skerry_storage::StateTree;
use skerry_types::amount::Asset;
use skerry_types::beacon::{CrossLink, ShardRecord, SystemOperation};
use skerry_types::block::{BlockKind, BlockRef, Body, ExecutionResult, Header, Report};
use skerry_types::certificate::{Bitmap, Certificate};
use skerry_types::codec::{Version, decode, encode};
use skerry_types::consensus::{ConsensusMessage, Proposal};
use skerry_types::crypto::bls::{PublicKey, SecretKey};
use skerry_types::crypto::hash::plain;
use skerry_types::ids::{
    Address, ChainRef, Digest, Epoch, Gas, Height, MemberIndex, Sequence, TimeMs, View,
};
use skerry_types::limits::BODY_BYTES_MAX;
use skerry_types::merkle::KeyProof;
use skerry_types::message::{Batch, BatchProof, BatchRecord, InboundBatch, Message, Payload};
use skerry_types::state::{ChangeSet, Value};
use skerry_types::vote::Statement;
use std::collections::{BTreeMap, BTreeSet};

/// What is sent to a recipient out of nothing.
const LOOT: u128 = 1_000_000;
/// How many false headers come at once: more than anybody checks at a time.
const FLOOD: u64 = 60;

/// What final blocks say of epochs: which are open for whom.
#[derive(Clone, Debug, Default)]
pub struct Sight {
    /// The open epoch, by who relies on it and by the chain that it is of.
    pub open: BTreeMap<(ChainRef, ChainRef), Epoch>,
    /// Position of the next message that a chain takes of another.
    pub cursors: BTreeMap<(ChainRef, ChainRef), u64>,
    /// The beacon's newest records of the shards.
    pub shards: Vec<ShardRecord>,
}

/// What all members have signed of a header.
#[derive(Clone, Copy)]
enum Standing {
    /// That it is final.
    Final,
    /// That it may become so.
    Certified,
}

/// What becomes of digging.
pub(super) enum Find {
    /// A header for the beacon.
    Link(Box<CrossLink>),
    /// A batch for another chain.
    Batch(Box<InboundBatch>),
}

/// What a Byzantine node remembers of closed epochs, and the keys that it has come by.
pub(super) struct Past {
    keys: BTreeMap<PublicKey, SecretKey>,
    chain_id: Digest,
    recipient: Option<Address>,
    links: BTreeMap<Place, CrossLink>,
    batches: BTreeMap<(ChainRef, Place), InboundBatch>,
    /// Digests of headers that were signed when their epoch was closed, or that are never final.
    made: BTreeSet<Digest>,
}

impl Past {
    /// Of a run's validators.
    pub(super) fn new(plan: &Plan) -> Self {
        let keys = plan.keys.iter();
        let accounts = &plan.genesis.accounts;
        Self {
            keys: keys.map(|key| (key.public_key(), key.clone())).collect(),
            chain_id: plan.chain_id(),
            recipient: accounts.first().map(|account| account.address),
            links: BTreeMap::new(),
            batches: BTreeMap::new(),
            made: BTreeSet::new(),
        }
    }

    /// The honest code publishes a final header.
    pub(super) fn remember_link(&mut self, link: &CrossLink) {
        let place = (link.header.chain, link.header.epoch);
        self.links.insert(place, link.clone());
    }

    /// The honest code pushes a batch.
    pub(super) fn remember_batch(&mut self, payload: &[u8]) {
        if let Ok(inbound) = decode::<InboundBatch>(payload, payload.len()) {
            let header = &inbound.proof.header;
            let place = (header.chain, header.epoch);
            let of = (inbound.batch.destination, place);
            self.batches.insert(of, inbound);
        }
    }

    /// The headers that were signed since the last time.
    pub(super) fn take_made(&mut self) -> BTreeSet<Digest> {
        std::mem::take(&mut self.made)
    }

    /// Something that is over for a destination.
    pub(super) fn dig(
        &mut self,
        forger: &Forger,
        (sight, destination): (&Sight, ChainRef),
        random: &mut Random,
    ) -> Option<Find> {
        let closed = |((to, from), open): (&(ChainRef, ChainRef), &Epoch)| {
            let is_over = *to == destination && from != to && *open > Epoch::ZERO;
            is_over.then_some((*from, *open))
        };
        let closed: Vec<(ChainRef, Epoch)> = sight.open.iter().filter_map(closed).collect();
        let (source, open) = *random.pick(&closed)?;
        let newest = open.saturating_sub(1);
        let back = random.below(newest.get().saturating_add(1));
        let place = (source, newest.saturating_sub(back.min(random.below(4))));
        if destination.is_beacon() && random.chance(600) {
            let link = if random.chance(300) {
                self.links.get(&place).cloned()
            } else {
                self.make_link(forger, (place, Standing::Final), sight, random)
            };
            return link.map(Box::new).map(Find::Link);
        }
        let inbound = match random.below(4) {
            0 => self.batches.get(&(destination, place)).cloned(),
            1 => self.wrap(forger, (destination, place), sight, random),
            _ => {
                let of = (destination, (place, Standing::Final));
                self.make_batch(forger, of, sight, random)
            }
        };
        inbound.map(Box::new).map(Find::Batch)
    }

    /// A sibling of a final header of an open epoch that all members have notarized, with what it would
    /// bring to a destination.
    pub(super) fn sibling(
        &mut self,
        forger: &Forger,
        (sight, destination): (&Sight, ChainRef),
        random: &mut Random,
    ) -> Option<Find> {
        let open = sight.open.iter();
        let open = open.filter(|((to, from), _)| *to == destination && from != to);
        let open: Vec<Place> = open.map(|((_, from), epoch)| (*from, *epoch)).collect();
        let place = *random.pick(&open)?;
        if destination.is_beacon() && random.chance(500) {
            let link = self.make_link(forger, (place, Standing::Certified), sight, random);
            return link.map(Box::new).map(Find::Link);
        }
        let of = (destination, (place, Standing::Certified));
        let inbound = self.make_batch(forger, of, sight, random);
        inbound.map(Box::new).map(Find::Batch)
    }

    /// Final headers of an open epoch, changed after they were signed: each looks like news and costs
    /// whoever gets it a check.
    pub(super) fn flood(&self, sight: &Sight, random: &mut Random) -> Vec<CrossLink> {
        let is_open = |(place, _): &(&Place, &CrossLink)| {
            sight.open.get(&(ChainRef::Beacon, place.0)) == Some(&place.1)
        };
        let open: Vec<&CrossLink> = self.links.iter().filter(is_open).map(|it| it.1).collect();
        let Some(link) = random.pick(&open) else {
            return Vec::new();
        };
        let above = (1..=FLOOD).map(|by| {
            let mut link = CrossLink::clone(link);
            let reported = &mut link.header.report.block.height;
            *reported = reported.saturating_add(by);
            link
        });
        above.collect()
    }

    /// A block of the own chain that builds on what is over.
    pub(super) fn unearth(
        &mut self,
        forger: &Forger,
        (place, proposal): (Place, &Proposal),
        sight: &Sight,
        random: &mut Random,
    ) -> Option<ConsensusMessage> {
        if proposal.body.is_empty() {
            return None;
        }
        let mut body: Body = decode(&proposal.body, BODY_BYTES_MAX).ok()?;
        match self.dig(forger, (sight, place.0), random)? {
            Find::Link(link) => {
                let shard = link.header.chain;
                let is_other = |operation: &SystemOperation| match operation {
                    SystemOperation::CrossLink(other) => other.header.chain != shard,
                    _ => true,
                };
                body.system.retain(is_other);
                body.system.push(SystemOperation::CrossLink(link));
            }
            Find::Batch(inbound) => {
                let source = inbound.batch.source;
                body.inbound.retain(|it| it.batch.source != source);
                body.inbound.push(*inbound);
                body.inbound
                    .sort_by_key(|it| (it.batch.source, it.batch.first));
            }
        }
        let mut wrong = proposal.clone();
        wrong.body = encode(&body);
        wrong.header.body_root = body.root();
        forger.sign(place, wrong)
    }

    /// A header that the shard never had, with a state that it never had.
    fn make_link(
        &mut self,
        forger: &Forger,
        (place, standing): (Place, Standing),
        sight: &Sight,
        random: &mut Random,
    ) -> Option<CrossLink> {
        let record = sight.shards.iter().find(|it| it.chain == place.0)?;
        let result = ExecutionResult {
            state_root: plain(&random.draw().to_le_bytes()),
            channels_root: record.channels_root,
            ..ExecutionResult::default()
        };
        let of = (place, standing);
        let (header, certificate) = self.make_header(forger, of, sight, (result, random))?;
        let channels = record.channels.clone();
        Some(CrossLink {
            header,
            path: Vec::new(),
            certificate,
            channels,
        })
    }

    /// A transfer that nobody paid for, in a state that never was.
    fn make_batch(
        &mut self,
        forger: &Forger,
        (destination, (place, standing)): (ChainRef, (Place, Standing)),
        sight: &Sight,
        random: &mut Random,
    ) -> Option<InboundBatch> {
        let (batch, state, record) = self.loot((destination, place.0), sight, random)?;
        let result = ExecutionResult {
            state_root: state.root(),
            ..ExecutionResult::default()
        };
        let of = (place, standing);
        let (header, certificate) = self.make_header(forger, of, sight, (result, random))?;
        let proof = BatchProof {
            header,
            path: Vec::new(),
            certificate,
            record,
        };
        Some(InboundBatch { batch, proof })
    }

    /// The same behind a header and certificate of a closed epoch that were honest.
    fn wrap(
        &mut self,
        forger: &Forger,
        (destination, place): (ChainRef, Place),
        sight: &Sight,
        random: &mut Random,
    ) -> Option<InboundBatch> {
        let Some(link) = self.links.get(&place).cloned() else {
            let of = (destination, (place, Standing::Final));
            return self.make_batch(forger, of, sight, random);
        };
        let (batch, _, record) = self.loot((destination, place.0), sight, random)?;
        let proof = BatchProof {
            header: link.header,
            path: link.path,
            certificate: link.certificate,
            record,
        };
        Some(InboundBatch { batch, proof })
    }

    fn loot(
        &self,
        (destination, source): (ChainRef, ChainRef),
        sight: &Sight,
        random: &mut Random,
    ) -> Option<(Batch, StateTree, KeyProof)> {
        let owner = self.recipient?;
        let message = Message {
            version: Version,
            origin: plain(&random.draw().to_le_bytes()),
            payload: Payload::Transfer {
                sender: owner,
                recipient: owner,
                assets: vec![Asset::nsker(LOOT)],
            },
        };
        let cursor = sight.cursors.get(&(destination, source));
        let first = Sequence::new(cursor.copied().unwrap_or(0));
        let batch = Batch {
            version: Version,
            source,
            destination,
            first,
            messages: vec![encode(&message)],
        };
        let record = BatchRecord {
            root: batch.root(),
            count: 1,
            bytes: batch.message_bytes(),
            gas: Gas::ZERO,
            height: Height::new(1),
        };
        let key = batch_record_key(source, destination, first);
        let value = Some(Value::from(encode(&record)));
        let changes = ChangeSet::from([(key.clone(), value)]);
        let state = StateTree::empty().apply(&changes);
        let proof = state.prove_key(&key);
        Some((batch, state, proof))
    }

    /// A header after all that is known of a chain, signed by all members that it had in an epoch.
    fn make_header(
        &mut self,
        forger: &Forger,
        (place, standing): (Place, Standing),
        sight: &Sight,
        (result, random): (ExecutionResult, &mut Random),
    ) -> Option<(Header, Certificate)> {
        let view = View::new(match standing {
            Standing::Final => random.between(50, 500),
            // So far off that none of them has said anything else in it.
            Standing::Certified => random.between(1_000_000, 2_000_000),
        });
        let header = self.header(place, view, sight, (result, random));
        let digest = header.digest();
        let statement = match standing {
            Standing::Final => Statement::Finalize { view, digest },
            Standing::Certified => Statement::Notarize { view, digest },
        };
        let certificate = self.certify(forger, place, statement)?;
        self.made.insert(digest);
        Some((header, certificate))
    }

    fn header(
        &self,
        (chain, epoch): Place,
        view: View,
        sight: &Sight,
        (result, random): (ExecutionResult, &mut Random),
    ) -> Header {
        let record = sight.shards.iter().find(|it| it.chain == chain);
        let newest = record.map_or(Height::ZERO, |record| record.header.height);
        let reported = newest.saturating_add(random.between(1, 5));
        let nonsense = plain(&random.draw().to_le_bytes());
        Header {
            version: Version,
            chain_id: self.chain_id,
            chain,
            epoch,
            height: reported.next(),
            view,
            kind: BlockKind::Idle,
            parent: nonsense,
            proposer: MemberIndex::new(0),
            time: TimeMs::new(EPOCH_MS),
            beacon: BlockRef {
                height: Height::ZERO,
                digest: Digest::ZERO,
            },
            body_root: Digest::ZERO,
            report: Report {
                block: BlockRef {
                    height: reported,
                    digest: nonsense,
                },
                result,
            },
            facts_root: Digest::ZERO,
            next: None,
            reveal: None,
        }
    }

    fn certify(&self, forger: &Forger, place: Place, statement: Statement) -> Option<Certificate> {
        let committee = forger.committee(place)?;
        let message = statement.signing_digest(committee.instance());
        let members = &committee.committee().members;
        let signatures: Option<Vec<_>> = members
            .iter()
            .map(|member| self.keys.get(&member.public_key))
            .map(|key| Some(forger.scheme().sign(key?, &message)))
            .collect();
        let indices = (0..members.len()).filter_map(|index| u16::try_from(index).ok());
        Some(Certificate {
            statement,
            signers: Bitmap::of(indices.map(MemberIndex::new), members.len()),
            signature: forger.scheme().aggregate(&signatures?)?,
        })
    }
}

/// A find as gossip of the beacon or as a frame, without a connection.
pub(super) fn pack(find: Find) -> Deed {
    match find {
        Find::Link(link) => Deed::Gossip(encode(&Announcement::Final(link)).into()),
        Find::Batch(inbound) => Deed::Frame(OutFrame {
            peer: 0,
            chain: inbound.batch.destination,
            epoch: Epoch::ZERO,
            kind: kind::BATCH_PUSH,
            payload: encode(&*inbound).into(),
        }),
    }
}
