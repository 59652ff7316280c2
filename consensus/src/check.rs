//! Signature checks as jobs: pure, self-contained, to be run on any thread.
//!
//! Votes are checked in aggregate when a quorum is there, one by one only when that fails; so an
//! aggregate is always checked as it will be published (two votes σᵢ+X and σⱼ−X pass together and
//! fail apart), and nobody is blamed on the strength of an aggregate.

use skerry_types::certificate::{Bitmap, Certificate};
use skerry_types::committee::VerifyingCommittee;
use skerry_types::crypto::bls::Signature;
use skerry_types::crypto::scheme::VoteScheme;
use skerry_types::ids::MemberIndex;
use skerry_types::vote::{Statement, Vote};

/// Names a job; never used twice by one replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct JobId(pub(crate) u64);

/// A check to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckJob {
    /// Its name.
    pub id: JobId,
    /// What to check.
    pub work: CheckWork,
}

/// What to check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CheckWork {
    /// Form a certificate of these votes.
    Aggregate {
        /// What they say.
        statement: Statement,
        /// The voters and their signatures.
        votes: Vec<(MemberIndex, Signature)>,
    },
    /// Verify certificates.
    Certificates(Vec<Certificate>),
    /// Verify votes one by one.
    Votes(Vec<Vote>),
}

/// What a check found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckResult {
    /// The job.
    pub id: JobId,
    /// What was found.
    pub outcome: CheckOutcome,
}

/// What a check found, by kind of work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CheckOutcome {
    /// The certificate of all the votes, or whose votes are wrong.
    Aggregate(Result<Certificate, Vec<MemberIndex>>),
    /// Each certificate, and whether it is one.
    Certificates(Vec<(Certificate, bool)>),
    /// Each vote, and whether its signature is good.
    Votes(Vec<(Vote, bool)>),
}

impl CheckJob {
    /// Runs the job.
    pub fn run(self, scheme: &dyn VoteScheme, committee: &VerifyingCommittee) -> CheckResult {
        let outcome = match self.work {
            CheckWork::Aggregate { statement, votes } => {
                CheckOutcome::Aggregate(aggregate(statement, &votes, scheme, committee))
            }
            CheckWork::Certificates(certificates) => {
                let check = |certificate: Certificate| {
                    let good = certificate.verify(committee, scheme).is_ok();
                    (certificate, good)
                };
                CheckOutcome::Certificates(certificates.into_iter().map(check).collect())
            }
            CheckWork::Votes(votes) => {
                let check = |vote: Vote| {
                    let good = vote.verify(committee, scheme);
                    (vote, good)
                };
                CheckOutcome::Votes(votes.into_iter().map(check).collect())
            }
        };
        CheckResult {
            id: self.id,
            outcome,
        }
    }
}

fn aggregate(
    statement: Statement,
    votes: &[(MemberIndex, Signature)],
    scheme: &dyn VoteScheme,
    committee: &VerifyingCommittee,
) -> Result<Certificate, Vec<MemberIndex>> {
    let members = committee.committee().members.len();
    let signatures: Vec<Signature> = votes.iter().map(|(_, signature)| *signature).collect();
    let certificate = scheme.aggregate(&signatures).map(|signature| Certificate {
        statement,
        signers: Bitmap::of(votes.iter().map(|(member, _)| *member), members),
        signature,
    });
    match certificate {
        Some(certificate) if certificate.verify(committee, scheme).is_ok() => Ok(certificate),
        _ => Err(wrong_votes(statement, votes, scheme, committee)),
    }
}

fn wrong_votes(
    statement: Statement,
    votes: &[(MemberIndex, Signature)],
    scheme: &dyn VoteScheme,
    committee: &VerifyingCommittee,
) -> Vec<MemberIndex> {
    let is_wrong = |(signer, signature): &(MemberIndex, Signature)| {
        let vote = Vote {
            statement,
            signer: *signer,
            signature: *signature,
        };
        (!vote.verify(committee, scheme)).then_some(*signer)
    };
    votes.iter().filter_map(is_wrong).collect()
}
