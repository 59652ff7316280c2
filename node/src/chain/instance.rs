//! One instance of consensus as this node takes part in it: the committee of an epoch, the own seat
//! in it, the core, and what waits for the core's answers. A chain outlives its instances.

use super::Building;
use skerry_consensus::config::{Config, Root, Start};
use skerry_consensus::error::StartError;
use skerry_consensus::input::Input;
use skerry_consensus::log::VoteRecord;
use skerry_consensus::output::To;
use skerry_consensus::replica::Replica;
use skerry_consensus::safety::Voice;
use skerry_types::block::Header;
use skerry_types::committee::VerifyingCommittee;
use skerry_types::consensus::ConsensusMessage;
use skerry_types::crypto::bls::{PublicKey, SecretKey};
use skerry_types::crypto::scheme::VoteScheme;
use skerry_types::ids::{Digest, Epoch, Height, LogPosition, MemberIndex, TimeMs, View};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// Notarized blocks whose reports wait to be compared.
pub(super) const NOTARIZED_MAX: usize = 128;

/// What an instance begins with.
pub(super) struct Beginning<'l> {
    /// Its members.
    pub(super) committee: Arc<VerifyingCommittee>,
    /// The node's key; it votes where the committee has a seat of it.
    pub(super) secret: Option<SecretKey>,
    /// How votes are signed and checked.
    pub(super) scheme: Arc<dyn VoteScheme>,
    /// Δ.
    pub(super) delta_ms: u64,
    /// Height and time of the block that it starts from.
    pub(super) genesis: (Height, TimeMs),
    /// The newest final block.
    pub(super) root: Root,
    /// Headers above it whose bytes are durable.
    pub(super) blocks: Vec<Header>,
    /// Records of the vote log; those of other instances say only how far the key has come.
    pub(super) log: &'l [VoteRecord],
    /// Whether the key may be used.
    pub(super) voice: Voice,
}

/// The instance.
pub(super) struct Instance {
    pub(super) committee: Arc<VerifyingCommittee>,
    /// The own seat, with the key.
    pub(super) voter: Option<(MemberIndex, SecretKey)>,
    pub(super) replica: Option<Replica>,
    /// Time of the block that it starts from.
    pub(super) begun: TimeMs,
    /// The view that the core is in.
    pub(super) view: View,
    pub(super) building: Option<Building>,
    pub(super) verifying: BTreeMap<Digest, View>,
    /// Blocks above the final view that are notarized, until their report is compared.
    pub(super) notarized: BTreeMap<Digest, View>,
    /// What waits for the core.
    pub(super) inputs: VecDeque<Input>,
    members: BTreeMap<PublicKey, MemberIndex>,
    durable: LogPosition,
    held: VecDeque<(LogPosition, To, Box<ConsensusMessage>)>,
}

impl Instance {
    /// Puts an instance together.
    ///
    /// # Errors
    /// When the vote log does not belong to the key and committee.
    pub(super) fn new(beginning: Beginning<'_>) -> Result<Self, StartError> {
        let Beginning {
            committee,
            secret,
            scheme,
            delta_ms,
            genesis: (genesis_height, genesis_time),
            root,
            blocks,
            log,
            voice,
        } = beginning;
        let members: BTreeMap<PublicKey, MemberIndex> = (0_u16..)
            .zip(&committee.committee().members)
            .map(|(index, member)| (member.public_key, MemberIndex::new(index)))
            .collect();
        let voter = secret.and_then(|secret| {
            let member = members.get(&secret.public_key())?;
            Some((*member, secret))
        });
        let epoch = committee.instance().epoch;
        let chain = committee.instance().chain;
        // A key that has voted in a later epoch votes in no earlier one any more.
        let of_chain = |it: &&VoteRecord| it.chain == chain && !it.entry.is_of_key();
        let own = log.iter().filter(of_chain);
        let has_later = own.clone().any(|record| record.epoch > epoch);
        let log: Vec<VoteRecord> = own.filter(|it| it.epoch == epoch).cloned().collect();
        // What was replayed from the log is durable.
        let durable = LogPosition::new(u64::try_from(log.len()).unwrap_or(u64::MAX));
        let replica = match &voter {
            None => None,
            Some((me, secret)) => {
                let config = Config {
                    committee: committee.clone(),
                    me: *me,
                    secret: (!has_later).then(|| secret.clone()),
                    scheme,
                    delta_ms,
                    genesis_height,
                    genesis_time,
                };
                let start = Start {
                    root,
                    log,
                    blocks,
                    voice,
                };
                Some(Replica::new(config, start)?)
            }
        };
        Ok(Self {
            committee,
            voter,
            replica,
            begun: genesis_time,
            view: View::ZERO,
            building: None,
            verifying: BTreeMap::new(),
            notarized: BTreeMap::new(),
            inputs: VecDeque::new(),
            members,
            durable,
            held: VecDeque::new(),
        })
    }

    /// Notes a notarized block whose report is to be compared. Of many, as while a node catches up, the
    /// newest: the others are compared when they are final.
    pub(super) fn note_notarized(&mut self, digest: Digest, view: View) {
        self.notarized.insert(digest, view);
        if self.notarized.len() > NOTARIZED_MAX {
            let oldest = self.notarized.iter().min_by_key(|(_, view)| **view);
            if let Some(oldest) = oldest.map(|(digest, _)| *digest) {
                self.notarized.remove(&oldest);
            }
        }
    }

    /// Its epoch.
    pub(super) fn epoch(&self) -> Epoch {
        self.committee.instance().epoch
    }

    /// Which member votes with this key.
    pub(super) fn member(&self, key: &PublicKey) -> Option<MemberIndex> {
        self.members.get(key).copied()
    }

    /// The key of a member.
    pub(super) fn key(&self, member: MemberIndex) -> Option<PublicKey> {
        let member = self.committee.committee().member(member)?;
        Some(member.public_key)
    }

    /// Keeps a message until the log is durable up to `after`; gives it back when it is already.
    pub(super) fn hold(
        &mut self,
        after: LogPosition,
        to: To,
        message: Box<ConsensusMessage>,
    ) -> Option<Box<ConsensusMessage>> {
        if after <= self.durable {
            return Some(message);
        }
        self.held.push_back((after, to, message));
        None
    }

    /// The log is durable up to a position.
    pub(super) fn on_durable(&mut self, position: LogPosition) {
        self.durable = self.durable.max(position);
        self.inputs.push_back(Input::Durable(position));
    }

    /// The next message that may leave now.
    pub(super) fn release(&mut self) -> Option<(LogPosition, To, Box<ConsensusMessage>)> {
        let durable = self.durable;
        self.held.pop_front_if(|(after, ..)| *after <= durable)
    }
}
