//! What may be signed. The only place that holds the vote key.
//!
//! [`guard`] looks at the own votes alone: whether a statement can ever contradict another one.
//! [`guard_parent`] is the rule that keeps blocks in one chain. What else makes a statement *wise*
//! (the block is valid) is the replica's business. Votes are recorded when they are signed, and restored from the log at a start.

use crate::error::{ParentRefusal, Refusal};
use skerry_types::committee::Instance;
use skerry_types::crypto::bls::SecretKey;
use skerry_types::crypto::scheme::VoteScheme;
use skerry_types::ids::{Digest, MemberIndex, View};
use skerry_types::vote::{Statement, Vote};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The own votes of one view.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OwnVotes {
    /// The notarize.
    pub notarize: Option<Vote>,
    /// The nullify.
    pub nullify: Option<Vote>,
    /// The finalize.
    pub finalize: Option<Vote>,
}

impl OwnVotes {
    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Vote> {
        [&self.notarize, &self.nullify, &self.finalize]
            .into_iter()
            .flatten()
    }

    fn slot(&mut self, statement: &Statement) -> &mut Option<Vote> {
        match statement {
            Statement::Notarize { .. } => &mut self.notarize,
            Statement::Nullify { .. } => &mut self.nullify,
            Statement::Finalize { .. } => &mut self.finalize,
        }
    }
}

fn digest_of(vote: Option<&Vote>) -> Option<Digest> {
    vote.and_then(|vote| vote.statement.digest())
}

/// Whether `statement` may be signed besides the votes `own` of its view, in the view `current`.
///
/// # Errors
/// The rule that forbids it.
pub fn guard(own: &OwnVotes, statement: &Statement, current: View) -> Result<(), Refusal> {
    let view = statement.view();
    let notarized = digest_of(own.notarize.as_ref());
    if let Some(digest) = digest_of(own.finalize.as_ref()) {
        return Err(Refusal::Finalized { digest });
    }
    if own.nullify.is_some() {
        return Err(Refusal::Nullified);
    }
    match statement {
        Statement::Notarize { .. } | Statement::Nullify { .. } if view != current => {
            Err(Refusal::NotCurrent { view, current })
        }
        Statement::Nullify { .. } => Ok(()),
        Statement::Notarize { .. } => {
            notarized.map_or(Ok(()), |digest| Err(Refusal::Notarized { digest }))
        }
        Statement::Finalize { digest, .. } => match notarized {
            Some(other) if other != *digest => Err(Refusal::Notarized { digest: other }),
            _ => Ok(()),
        },
    }
}

/// A parent, as far as the rule asks for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParentStanding {
    /// The view that it was notarized in; zero for the start.
    pub base: View,
    /// Whether it is the newest final block, or the start where there is none.
    pub is_final: bool,
    /// Whether its notarization is held.
    pub is_notarized: bool,
}

/// Rule 4 of the protocol: a block of `view` is notarized only if its parent is notarized or final,
/// not below or beside the final block, and every view between is nullified.
///
/// # Errors
/// What is missing, or forbids it for good.
pub fn guard_parent(
    parent: ParentStanding,
    view: View,
    finalized: View,
    is_nullified: &dyn Fn(View) -> bool,
) -> Result<(), ParentRefusal> {
    let ParentStanding {
        base,
        is_final,
        is_notarized,
    } = parent;
    if base >= view {
        return Err(ParentRefusal::NotBelow { base, view });
    }
    if base < finalized || base == finalized && !is_final {
        return Err(ParentRefusal::NotAboveFinal { base, finalized });
    }
    if !is_final && !is_notarized {
        return Err(ParentRefusal::NotNotarized { base });
    }
    let mut between = base.next();
    while between < view {
        if !is_nullified(between) {
            return Err(ParentRefusal::Gap { view: between });
        }
        between = between.next();
    }
    Ok(())
}

/// Whether the vote key may be used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Voice {
    /// It signs what the rules allow.
    #[default]
    Speaks,
    /// Its history is not whole, so it signs nothing until it is told otherwise.
    Mute,
}

/// The vote key with the memory of what it signed.
#[derive(Debug)]
pub struct Signer {
    secret: Option<SecretKey>,
    voice: Voice,
    scheme: Arc<dyn VoteScheme>,
    instance: Instance,
    me: MemberIndex,
    floor: View,
    votes: BTreeMap<View, OwnVotes>,
}

impl Signer {
    /// A signer that has signed nothing yet.
    pub fn new(
        secret: Option<SecretKey>,
        scheme: Arc<dyn VoteScheme>,
        instance: Instance,
        me: MemberIndex,
    ) -> Self {
        Self {
            secret,
            voice: Voice::Speaks,
            scheme,
            instance,
            me,
            floor: View::new(1),
            votes: BTreeMap::new(),
        }
    }

    /// Takes up a vote of the log.
    pub fn restore(&mut self, vote: Vote) {
        let own = self.votes.entry(vote.statement.view()).or_default();
        own.slot(&vote.statement).get_or_insert(vote);
    }

    /// Signs nothing below `floor` any more, and forgets what was signed there.
    pub fn raise_floor(&mut self, floor: View) {
        self.floor = self.floor.max(floor);
        self.votes = self.votes.split_off(&self.floor);
    }

    /// Never signs again.
    pub fn stop(&mut self) {
        self.secret = None;
    }

    /// Signs nothing from now on, or again; without a key nothing either way.
    pub fn set_voice(&mut self, voice: Voice) {
        self.voice = voice;
    }

    /// Whether there is a key that may sign now or later.
    pub fn has_key(&self) -> bool {
        self.secret.is_some()
    }

    /// Whether anything can be signed.
    pub fn is_voting(&self) -> bool {
        self.has_key() && self.voice == Voice::Speaks
    }

    /// Whether `statement` was signed here; `None` below the floor, where nothing is remembered.
    pub fn has_signed(&self, statement: &Statement) -> Option<bool> {
        (statement.view() >= self.floor).then(|| {
            let own = self.votes.get(&statement.view());
            own.is_some_and(|own| own.iter().any(|vote| vote.statement == *statement))
        })
    }

    /// The own votes of a view.
    pub fn votes(&self, view: View) -> Option<&OwnVotes> {
        self.votes.get(&view)
    }

    /// The own votes of all views from `view` on, in order.
    pub fn votes_from(&self, view: View) -> impl Iterator<Item = &Vote> {
        self.votes.range(view..).flat_map(|(_, own)| own.iter())
    }

    /// Signs and records `statement`, in the view `current`.
    ///
    /// # Errors
    /// The rule that forbids it.
    pub fn sign(&mut self, statement: Statement, current: View) -> Result<Vote, Refusal> {
        let view = statement.view();
        let secret = self.secret.as_ref().ok_or(Refusal::NoVoter)?;
        if self.voice == Voice::Mute {
            return Err(Refusal::Mute);
        }
        if view < self.floor {
            return Err(Refusal::BelowFloor {
                view,
                floor: self.floor,
            });
        }
        let own = self.votes.entry(view).or_default();
        guard(own, &statement, current)?;
        let signature = self
            .scheme
            .sign(secret, &statement.signing_digest(&self.instance));
        let vote = Vote {
            statement,
            signer: self.me,
            signature,
        };
        *own.slot(&statement) = Some(vote.clone());
        Ok(vote)
    }
}
