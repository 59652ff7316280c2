//! Blocks and votes that a Byzantine member signs and an honest one never would.

use crate::checks::Place;
use crate::random::Random;
use skerry::chain::jobs::Shared;
use skerry::committees::Committees;
use skerry_types::beacon::SystemOperation;
use skerry_types::block::Body;
use skerry_types::certificate::{Bitmap, Certificate};
use skerry_types::codec::{decode, encode};
use skerry_types::committee::VerifyingCommittee;
use skerry_types::consensus::{ConsensusMessage, Proposal};
use skerry_types::crypto::bls::SecretKey;
use skerry_types::crypto::hash::plain;
use skerry_types::crypto::scheme::VoteScheme;
use skerry_types::evidence::Evidence;
use skerry_types::ids::{Digest, MemberIndex, View};
use skerry_types::limits::BODY_BYTES_MAX;
use skerry_types::vote::{Statement, Vote};
use std::sync::Arc;

/// Signs anything with one validator's key.
pub(super) struct Forger {
    secret: SecretKey,
    committees: Arc<Committees>,
    shared: Arc<Shared>,
}

/// Digest of a proposed block; zero for other messages.
pub(super) fn digest_of(message: &ConsensusMessage) -> Digest {
    match message {
        ConsensusMessage::Proposal(proposal) => proposal.header.digest(),
        _ => Digest::ZERO,
    }
}

impl Forger {
    pub(super) fn new(secret: SecretKey, shared: Arc<Shared>) -> Self {
        Self {
            secret,
            committees: shared.committees.clone(),
            shared,
        }
    }

    /// Learns of an instance that its honest code takes part in.
    pub(super) fn learn(&mut self, committee: &Arc<VerifyingCommittee>) {
        let of = committee.instance();
        if self.committees.of(of.chain, of.epoch).is_none() {
            Arc::make_mut(&mut self.committees).insert(committee.clone());
        }
    }

    /// The committee of an instance that was learned of.
    pub(super) fn committee(&self, (chain, epoch): Place) -> Option<&Arc<VerifyingCommittee>> {
        self.committees.of(chain, epoch)
    }

    /// How votes are signed.
    pub(super) fn scheme(&self) -> &dyn VoteScheme {
        &*self.shared.scheme
    }

    fn vote(&self, (chain, epoch): Place, statement: Statement) -> Option<Vote> {
        let committee = self.committees.of(chain, epoch)?;
        let key = self.secret.public_key();
        let mut members = committee.committee().members.iter();
        let signer = members.position(|member| member.public_key == key)?;
        let signer = MemberIndex::new(u16::try_from(signer).ok()?);
        let message = statement.signing_digest(committee.instance());
        let signature = self.shared.scheme.sign(&self.secret, &message);
        Some(Vote {
            statement,
            signer,
            signature,
        })
    }

    /// Votes of the same view that must not stand beside `vote`.
    pub(super) fn contradictions(
        &self,
        place: Place,
        vote: &Vote,
        twin: Option<Digest>,
    ) -> Vec<Vote> {
        let view = vote.statement.view();
        let other = twin.unwrap_or_else(|| plain(&view.get().to_le_bytes()));
        let mut statements = vec![
            Statement::Nullify { view },
            Statement::Notarize {
                view,
                digest: other,
            },
            Statement::Finalize {
                view,
                digest: other,
            },
        ];
        if let Some(digest) = vote.statement.digest() {
            statements.push(Statement::Finalize { view, digest });
        }
        statements
            .into_iter()
            .filter_map(|statement| self.vote(place, statement))
            .collect()
    }

    /// Another block for the same view, as good as the first.
    pub(super) fn twin(
        &self,
        place: Place,
        proposal: &Proposal,
        random: &mut Random,
    ) -> Option<ConsensusMessage> {
        let mut twin = proposal.clone();
        twin.header.time = twin.header.time.saturating_add(random.between(1, 3));
        self.sign(place, twin)
    }

    /// The same block with a report that nobody else comes to.
    pub(super) fn misreport(
        &self,
        place: Place,
        proposal: &Proposal,
        random: &mut Random,
    ) -> Option<ConsensusMessage> {
        let mut wrong = proposal.clone();
        let nonsense = plain(&random.draw().to_le_bytes());
        let result = &mut wrong.header.report.result;
        match random.below(4) {
            0 => result.state_root = nonsense,
            1 => result.receipts_root = nonsense,
            2 => result.channels_root = nonsense,
            _ => wrong.header.report.block.digest = nonsense,
        }
        self.sign(place, wrong)
    }

    /// Evidence against another member, signed by the own key or by nobody.
    pub(super) fn slander(&self, place: Place, random: &mut Random) -> Option<Evidence> {
        let committee = self.committees.of(place.0, place.1)?;
        let members = committee.committee().members.len();
        let view = View::new(random.between(1, 50));
        let vote = |block| {
            let digest = Digest::new([block; 32]);
            self.vote(place, Statement::Notarize { view, digest })
        };
        let (mut one, mut other) = (vote(1)?, vote(2)?);
        if random.chance(300) {
            let all = (0..members).filter_map(|index| u16::try_from(index).ok());
            let signers = Bitmap::of(all.map(MemberIndex::new), members);
            let claim = |vote: Vote| Certificate {
                statement: vote.statement,
                signers: signers.clone(),
                signature: vote.signature,
            };
            return Evidence::of_certificates(place, claim(one), claim(other));
        }
        let victim = u16::try_from(random.index(members)).ok()?;
        if one.signer.get() == victim {
            return None;
        }
        (one.signer, other.signer) = (MemberIndex::new(victim), MemberIndex::new(victim));
        Evidence::of_votes(place, one, other)
    }

    /// A block of the beacon that accuses another member falsely.
    pub(super) fn accuse(
        &self,
        place: Place,
        proposal: &Proposal,
        random: &mut Random,
    ) -> Option<ConsensusMessage> {
        if !place.0.is_beacon() || proposal.body.is_empty() {
            return None;
        }
        let mut body: Body = decode(&proposal.body, BODY_BYTES_MAX).ok()?;
        let evidence = Box::new(self.slander(place, random)?);
        body.system.push(SystemOperation::Evidence(evidence));
        let mut wrong = proposal.clone();
        wrong.body = encode(&body);
        wrong.header.body_root = body.root();
        self.sign(place, wrong)
    }

    /// The same block without the batches of one of its sources.
    pub(super) fn censor(
        &self,
        place: Place,
        proposal: &Proposal,
        random: &mut Random,
    ) -> Option<ConsensusMessage> {
        let mut body: Body = decode(&proposal.body, BODY_BYTES_MAX).ok()?;
        let victim = random.pick(&body.inbound)?.batch.source;
        body.inbound
            .retain(|inbound| inbound.batch.source != victim);
        let mut wrong = proposal.clone();
        wrong.body = encode(&body);
        wrong.header.body_root = body.root();
        self.sign(place, wrong)
    }

    /// A proposal with the own signature for its header.
    pub(super) fn sign(&self, place: Place, mut proposal: Proposal) -> Option<ConsensusMessage> {
        let digest = proposal.header.digest();
        let vote = self.vote(
            place,
            Statement::Notarize {
                view: proposal.view,
                digest,
            },
        )?;
        proposal.signature = vote.signature;
        Some(ConsensusMessage::Proposal(Box::new(proposal)))
    }
}
