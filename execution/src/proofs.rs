//! Whether a batch, a cross-link or evidence proves itself: finality, path, Merkle proof, root.
//!
//! The caller picks the committee of the source for the header's epoch; a notarization never
//! suffices. Checking the certificate costs about a millisecond, so [`verify_path`] and the rest
//! are separate, for callers that cache good certificates.

use crate::error::ProofFailure;
use crate::modules::channels::state::batch_record_key;
use crate::view::decode_record;
use crate::views;
use skerry_types::beacon::{CrossLink, Ready};
use skerry_types::block::Header;
use skerry_types::certificate::Certificate;
use skerry_types::committee::{Committee, Instance, VerifyingCommittee};
use skerry_types::crypto::scheme::VoteScheme;
use skerry_types::evidence::{Conflict, Evidence, FinalHeader};
use skerry_types::ids::{ChainRef, Digest, Epoch};
use skerry_types::message::{BatchRecord, InboundBatch, channels_root};
use skerry_types::state::StateRead;
use skerry_types::vote::{Statement, Vote};
use std::sync::Arc;

/// Longest path from a header to the certified descendant. A leader may run sixteen blocks ahead of
/// finality, and idle blocks further.
pub const PATH_HEADERS_MAX: usize = 64;

/// Checks that `path` leads from `header` to a block that `certificate` finalizes by its statement;
/// the signature is not checked. Returns the digest of the certified block.
///
/// # Errors
/// When a header does not follow the one before, or the certificate is for another block.
pub fn verify_path(
    header: &Header,
    path: &[Header],
    certificate: &Certificate,
    committee: &VerifyingCommittee,
) -> Result<Digest, ProofFailure> {
    check_path(header, path, certificate, committee.instance())
}

fn check_path(
    header: &Header,
    path: &[Header],
    certificate: &Certificate,
    instance: &Instance,
) -> Result<Digest, ProofFailure> {
    if header.chain_id != instance.chain_id {
        return Err(ProofFailure::ChainId {
            expected: instance.chain_id,
            actual: header.chain_id,
        });
    }
    if header.chain != instance.chain {
        return Err(ProofFailure::Chain {
            expected: instance.chain,
            actual: header.chain,
        });
    }
    if header.epoch != instance.epoch {
        return Err(ProofFailure::Epoch {
            expected: instance.epoch,
            actual: header.epoch,
        });
    }
    if path.len() > PATH_HEADERS_MAX {
        let (limit, actual) = (PATH_HEADERS_MAX, path.len());
        return Err(ProofFailure::PathTooLong { limit, actual });
    }
    let mut before = header;
    let mut digest = header.digest();
    for (position, next) in path.iter().enumerate() {
        let follows = next.parent == digest
            && next.height == before.height.next()
            && next.chain == before.chain
            && next.chain_id == before.chain_id
            && next.epoch == before.epoch;
        if !follows {
            return Err(ProofFailure::PathBroken { position });
        }
        digest = next.digest();
        before = next;
    }
    match certificate.statement {
        Statement::Finalize {
            digest: certified, ..
        } if certified == digest => Ok(digest),
        _ => Err(ProofFailure::NotFinalized { expected: digest }),
    }
}

/// Checks that `header` is final: [`verify_path`] and the certificate's signature.
///
/// # Errors
/// When the path is broken or the certificate is wrong.
pub fn verify_final(
    header: &Header,
    path: &[Header],
    certificate: &Certificate,
    committee: &VerifyingCommittee,
    scheme: &dyn VoteScheme,
) -> Result<(), ProofFailure> {
    verify_path(header, path, certificate, committee)?;
    certificate
        .verify(committee, scheme)
        .map_err(ProofFailure::Certificate)
}

/// Checks that the state which the proof's header reports records this very batch. Whether the
/// header is final is not checked.
///
/// # Errors
/// When the record is missing, is another batch's, or its Merkle proof is wrong.
pub fn verify_record(inbound: &InboundBatch) -> Result<BatchRecord, ProofFailure> {
    let InboundBatch { batch, proof } = inbound;
    if proof.header.chain != batch.source {
        return Err(ProofFailure::Chain {
            expected: batch.source,
            actual: proof.header.chain,
        });
    }
    let key = batch_record_key(batch.source, batch.destination, batch.first);
    let root = proof.header.report.result.state_root;
    let value = proof
        .record
        .verify(&root, &key)
        .map_err(ProofFailure::Merkle)?;
    let value = value.ok_or(ProofFailure::NoRecord)?;
    let record: BatchRecord = decode_record(value).map_err(|_| ProofFailure::NoRecord)?;
    let actual = batch.root();
    let count_fits = u32::try_from(batch.messages.len()).is_ok_and(|count| count == record.count);
    if actual != record.root || !count_fits {
        return Err(ProofFailure::BatchMismatch {
            expected: record.root,
            actual,
        });
    }
    Ok(record)
}

/// Checks an inbound batch whole, against the committee of its source.
///
/// # Errors
/// When its header is not final, or the batch is not what the header's reported state records.
pub fn verify_inbound(
    inbound: &InboundBatch,
    committee: &VerifyingCommittee,
    scheme: &dyn VoteScheme,
) -> Result<BatchRecord, ProofFailure> {
    let proof = &inbound.proof;
    let record = verify_record(inbound)?;
    verify_final(
        &proof.header,
        &proof.path,
        &proof.certificate,
        committee,
        scheme,
    )?;
    Ok(record)
}

/// Checks that a cross-link's channel summaries are those that its header reports.
///
/// # Errors
/// When they are not.
pub fn verify_channels(link: &CrossLink) -> Result<(), ProofFailure> {
    let expected = link.header.report.result.channels_root;
    let actual = channels_root(&link.channels);
    if actual == expected {
        Ok(())
    } else {
        Err(ProofFailure::ChannelsRoot { expected, actual })
    }
}

/// Checks a cross-link whole, against the committee of its shard.
///
/// # Errors
/// When its header is not final, or the channel summaries are not those that it reports.
pub fn verify_crosslink(
    link: &CrossLink,
    committee: &VerifyingCommittee,
    scheme: &dyn VoteScheme,
) -> Result<(), ProofFailure> {
    verify_channels(link)?;
    verify_final(
        &link.header,
        &link.path,
        &link.certificate,
        committee,
        scheme,
    )
}

/// Checks that a validator says itself that it is ready, by the key that it has in a beacon state.
///
/// # Errors
/// When there is no such validator, or it did not sign.
pub fn verify_ready(
    ready: &Ready,
    chain_id: &Digest,
    beacon: &dyn StateRead,
    scheme: &dyn VoteScheme,
) -> Result<(), ProofFailure> {
    let Ready { validator, .. } = *ready;
    let unknown = ProofFailure::Validator(validator);
    let record = views::validator(beacon, validator).ok_or_else(|| unknown.clone())?;
    let key = scheme.decode_key(&record.vote_key).ok_or(unknown)?;
    if scheme.verify(&[key], &ready.digest(chain_id), &ready.signature) {
        Ok(())
    } else {
        Err(ProofFailure::ReadySignature(validator))
    }
}

/// What evidence about one chain in one epoch is judged by: committee and instance, as a beacon state
/// keeps them. Nothing else of the state matters, so that evidence which holds by one state holds by
/// all that have the same [`JurisdictionId`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Jurisdiction {
    committee: Committee,
    instance: Instance,
}

/// Names a [`Jurisdiction`]. Beacon states of competing blocks may have different ones of one chain
/// and epoch: of a shard that has forked, or of the beacon itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct JurisdictionId {
    /// What the votes of the instance are bound to.
    genesis: Digest,
    /// Root of the committee, which names chain and epoch.
    committee: Digest,
}

impl Jurisdiction {
    /// That of a chain in an epoch; `None` in a state that does not know it yet, or no more.
    pub fn of(
        beacon: &dyn StateRead,
        chain_id: Digest,
        (chain, epoch): (ChainRef, Epoch),
    ) -> Option<Self> {
        let instance = Instance {
            chain_id,
            chain,
            epoch,
            genesis: views::instance(beacon, chain, epoch)?,
        };
        let committee = views::committee(beacon, chain, epoch)?;
        Some(Self {
            committee,
            instance,
        })
    }

    /// Its name.
    pub fn id(&self) -> JurisdictionId {
        JurisdictionId {
            genesis: self.instance.genesis,
            committee: self.committee.root(),
        }
    }

    /// The members.
    pub fn committee(&self) -> &Committee {
        &self.committee
    }

    /// The committee with all its keys decoded, which takes about a tenth of a millisecond a member;
    /// `None` when it is not usable.
    pub fn decode(&self, scheme: &dyn VoteScheme) -> Option<VerifyingCommittee> {
        let Instance {
            chain_id, genesis, ..
        } = self.instance;
        VerifyingCommittee::new(self.committee.clone(), chain_id, genesis, scheme)
    }

    fn not_admissible(&self) -> ProofFailure {
        let Instance { chain, epoch, .. } = self.instance;
        ProofFailure::NotAdmissible { chain, epoch }
    }
}

/// Checks that evidence proves what it says, by the jurisdiction of its chain and epoch.
///
/// What costs nothing is checked first: form, weights, paths. Two votes need the key of their signer
/// alone; only certificates need `decoded`, the committee with its keys, which callers may keep.
///
/// # Errors
/// When the jurisdiction is another's, the two sides agree, or a signature, weight or path is wrong.
pub fn verify_evidence(
    evidence: &Evidence,
    jurisdiction: &Jurisdiction,
    decoded: &mut dyn FnMut(&Jurisdiction) -> Option<Arc<VerifyingCommittee>>,
    scheme: &dyn VoteScheme,
) -> Result<(), ProofFailure> {
    let Jurisdiction {
        committee,
        instance,
    } = jurisdiction;
    let (chain, epoch) = (evidence.chain, evidence.epoch);
    if (chain, epoch) != (instance.chain, instance.epoch) {
        return Err(ProofFailure::NotAdmissible { chain, epoch });
    }
    if !evidence.is_conflict() {
        return Err(ProofFailure::NoConflict);
    }
    let weighty = |certificate: &Certificate| {
        let signers = certificate.quorum_of(committee);
        signers.map(|_| ()).map_err(ProofFailure::Certificate)
    };
    let certificates = match &evidence.conflict {
        Conflict::Votes { first, second } => {
            let wrong = ProofFailure::VoteSignature(first.signer);
            let member = committee.member(first.signer);
            let key = member.and_then(|member| scheme.decode_key(&member.public_key));
            let key = [key.ok_or_else(|| wrong.clone())?];
            let is_good = |vote: &Vote| {
                let message = vote.statement.signing_digest(instance);
                scheme.verify(&key, &message, &vote.signature)
            };
            let both = is_good(first) && is_good(second);
            return both.then_some(()).ok_or(wrong);
        }
        Conflict::Certificates { first, second } => [first, second],
        Conflict::Finals { first, second } => {
            for side in [first, second] {
                let FinalHeader {
                    header,
                    path,
                    certificate,
                } = &**side;
                check_path(header, path, certificate, instance)?;
            }
            [&first.certificate, &second.certificate]
        }
    };
    for certificate in certificates {
        weighty(certificate)?;
    }
    let committee = decoded(jurisdiction).ok_or_else(|| jurisdiction.not_admissible())?;
    for certificate in certificates {
        let good = certificate.verify(&committee, scheme);
        good.map_err(ProofFailure::Certificate)?;
    }
    Ok(())
}
