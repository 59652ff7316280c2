//! The replica: one visible match over the inputs, then the rules in a fixed order.
//!
//! Every input only notes what it says (`receive.rs`); `settle` then applies the rules of the protocol
//! (numbered in the crate's page) to what is known. So it does not matter in which order things
//! become known, and what is late is acted upon when it comes.

use crate::checks::Checks;
use crate::config::{Config, FAR_HEADERS_MAX, Parent, Start, VIEWS_AHEAD_MAX};
use crate::error::StartError;
use crate::fetches::Fetches;
use crate::input::Input;
use crate::log::{LogEntry, VoteRecord};
use crate::output::{Output, To};
use crate::round::Round;
use crate::safety::{Signer, Voice};
use crate::silence::Silence;
use crate::status::{MemberStatus, Status, Tally};
use crate::timers::{Pace, Timers};
use crate::tree::{Need, Tree};
use skerry_types::certificate::Certificate;
use skerry_types::codec::Version;
use skerry_types::committee::LeaderSchedule;
use skerry_types::consensus::{ConsensusMessage, FetchRequest};
use skerry_types::evidence::{Evidence, contradict};
use skerry_types::ids::{ChainRef, Digest, Epoch, LogPosition, MemberIndex, TimeMs, View, Weight};
use skerry_types::vote::{Statement, Vote};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

mod receive;

/// Nullified views further back than this keep their certificates only.
const VOTES_BACK_MAX: u64 = 64;
/// Views before the current one whose own votes are sent again after a restart.
const RESEND_BACK_MAX: u64 = 16;
/// Views before the current one whose own finalize votes are repeated at a standstill.
const FINALIZE_BACK_MAX: u64 = 4;

/// One member's part in one instance of consensus.
#[derive(Debug)]
pub struct Replica {
    pub(crate) config: Config,
    pub(crate) signer: Signer,
    pub(crate) tree: Tree,
    pub(crate) rounds: BTreeMap<View, Round>,
    pub(crate) current: View,
    pub(crate) now: TimeMs,
    pub(crate) timers: Timers,
    /// Views that timed out since the newest finalization.
    pub(crate) timeouts: u64,
    pub(crate) tally: Tally,
    pub(crate) lead: Lead,
    pub(crate) fetches: Fetches,
    pub(crate) checks: Checks,
    pub(crate) peers: Vec<Peer>,
    silence: Silence,
    /// When the current view was entered.
    entered_at: TimeMs,
    /// The newest finalization; its block may not be here yet.
    pub(crate) finalization: Option<Certificate>,
    /// When the proposal that is ahead of the clock may be looked at.
    pub(crate) wake_at: Option<TimeMs>,
    leaders: LeaderSchedule,
    restored: Option<Vec<VoteRecord>>,
    /// First view in which this replica may propose: none entered before a restart.
    propose_from: View,
    nullified_max: View,
    certified_max: View,
    /// Views above the final one that are notarized and not certified.
    uncertified: BTreeSet<View>,
    logged: BTreeSet<Statement>,
    last_position: LogPosition,
    /// Own votes that count once they are durable.
    undurable: VecDeque<(LogPosition, Vote)>,
    pub(crate) behind_at: Option<TimeMs>,
    /// Whether a vote of the own key was seen that is not in the log.
    saw_foreign: bool,
}

/// How far the leader of the current view has come, when it is this replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Lead {
    /// Another leads, or all is done.
    No,
    /// A parent is sought.
    Wanted,
    /// The glue builds.
    Asked(Box<Parent>),
    /// The glue verifies the seal that is to be proposed again.
    Again(Box<Parent>),
}

/// What is remembered of a member.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Peer {
    pub(crate) last_view: View,
    pub(crate) timeouts: u64,
    pub(crate) helped_at: Option<TimeMs>,
    pub(crate) served_from: TimeMs,
    pub(crate) served: u32,
}

impl Replica {
    /// Restores a replica from what it remembers. Nothing happens before the first step.
    ///
    /// # Errors
    /// When `start` does not belong to `config`.
    pub fn new(config: Config, start: Start) -> Result<Self, StartError> {
        check_start(&config, &start)?;
        let committee = config.committee.committee();
        let members = committee.members.len();
        let leaders = LeaderSchedule::new(committee);
        let instance = *config.committee.instance();
        let scheme = std::sync::Arc::clone(&config.scheme);
        let mut signer = Signer::new(config.secret.clone(), scheme, instance, config.me);
        signer.set_voice(start.voice);
        let finalization = match &start.root {
            crate::config::Root::Genesis => None,
            crate::config::Root::Finalized { certificate, .. } => Some(certificate.clone()),
        };
        let tree = Tree::new(&config, start.root, start.blocks);
        let weights = committee.members.iter().map(|member| member.weight);
        let silence = Silence::new(weights, config.me, config.committee.quorum());
        let last_position = LogPosition::new(u64::try_from(start.log.len()).unwrap_or(u64::MAX));
        Ok(Self {
            signer,
            tree,
            rounds: BTreeMap::new(),
            current: View::ZERO,
            now: TimeMs::ZERO,
            timers: Timers::default(),
            timeouts: 0,
            tally: Tally::default(),
            lead: Lead::No,
            fetches: Fetches::default(),
            checks: Checks::default(),
            peers: vec![Peer::default(); members],
            silence,
            entered_at: TimeMs::ZERO,
            finalization,
            wake_at: None,
            leaders,
            restored: Some(start.log),
            propose_from: View::new(1),
            nullified_max: View::ZERO,
            certified_max: View::ZERO,
            uncertified: BTreeSet::new(),
            logged: BTreeSet::new(),
            last_position,
            undurable: VecDeque::new(),
            behind_at: None,
            saw_foreign: false,
            config,
        })
    }

    /// Takes one input at the time `now` and appends what is to be done to `out`. Time never runs
    /// backwards: an earlier `now` counts as the latest one.
    pub fn step(&mut self, now: TimeMs, input: Input, out: &mut Vec<Output>) {
        self.now = self.now.max(now);
        if let Some(log) = self.restored.take() {
            self.resume(log, out);
        }
        match input {
            // Rule 7 and all retries look at the clock after every input.
            Input::Tick => {}
            // Votes, certificates, proposals, requests and their answers.
            Input::Message { from, message } => self.on_message(from, *message, out),
            // A vote leaves the replica, also towards its own table, when it is durable.
            Input::Durable(position) => self.on_durable(position, out),
            // Certificates formed or believed, votes blamed.
            Input::Checked(result) => self.on_checked(result, out),
            // Rule 3: the leader's block, or none.
            Input::Built { view, header, body } => self.on_built(view, *header, body, out),
            Input::CannotBuild { view, .. } => self.on_cannot_build(view, out),
            // Rule 4: the verdict on a proposal.
            Input::Verified {
                view,
                digest,
                verdict,
            } => {
                self.on_verified(view, digest, verdict, out);
            }
            // Rule 5: the bytes of a notarized block.
            Input::Certified { digest, outcome } => self.on_certified(digest, outcome),
            // Rule 8: final blocks that came another way.
            Input::Synced {
                header,
                certificate,
            } => self.on_synced(*header, certificate, out),
            Input::StopVoting => self.signer.stop(),
            Input::Voice(voice) => self.on_voice(voice),
        }
        self.settle(out);
    }

    /// When the next [`Input::Tick`] is due; `None` before the first step.
    pub fn deadline(&self) -> Option<TimeMs> {
        if self.restored.is_some() || self.tree.is_sealed() {
            return None;
        }
        [
            self.timers.deadline(),
            self.fetches.deadline(),
            self.wake_at,
            self.behind_at,
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// What the replica looks like now.
    pub fn status(&self) -> Status {
        let round = self.rounds.get(&self.current);
        let members = (0_u16..)
            .zip(&self.peers)
            .map(|(index, peer)| MemberStatus {
                member: MemberIndex::new(index),
                last_view: peer.last_view,
                timeouts: peer.timeouts,
            });
        Status {
            view: self.current,
            leader: self
                .leaders
                .clone()
                .leader(self.current)
                .unwrap_or_default(),
            voting: self.signer.is_voting(),
            finalized_view: self.finalized_view(),
            root_height: self.tree.root().height,
            root_digest: self.tree.root().digest,
            weight_seen: round.map_or(0, |round| round.votes.weight_seen()),
            quorum: self.config.committee.quorum(),
            rounds: self.rounds.len(),
            blocks: self.tree.len(),
            fetches: self.fetches.len(),
            checks: self.checks.len(),
            members: members.collect(),
        }
    }

    /// How often it took the ways that a healthy network does not need.
    pub const fn tally(&self) -> Tally {
        self.tally
    }

    // ---- the rules, in order -----------------------------------------------------------------

    fn settle(&mut self, out: &mut Vec<Output>) {
        self.wake_at = None;
        self.deliver_final(out);
        if self.tree.is_sealed() {
            // Logged before any vote of the next epoch: who has voted there can show, even when all
            // have lost what was not synced, that this one is over.
            self.log_certificate(self.finalization.clone(), out);
            self.lead = Lead::No;
            return;
        }
        self.certify(out);
        self.enter(out);
        self.give_up_when_due(out);
        self.take_the_lead(out);
        self.follow(out);
        self.ask(out);
        // What was due and not repeated is over.
        self.behind_at = self.behind_at.filter(|at| *at > self.now);
        self.assert_bounds();
    }

    /// Rule 8: a finalization finalizes its block and all ancestors, once they are here.
    fn deliver_final(&mut self, out: &mut Vec<Output>) {
        let Some(certificate) = self.finalization.clone() else {
            return;
        };
        let Some(digest) = certificate.statement.digest() else {
            return;
        };
        if certificate.view() <= self.tree.root().view {
            self.behind_at = None;
            return;
        }
        if self.pursue(digest, certificate.view(), out) {
            let headers = self.tree.finalize(&certificate);
            if !headers.is_empty() {
                out.push(Output::Finalized {
                    headers,
                    certificate,
                });
            }
            self.behind_at = None;
        }
    }

    /// Rule 5: a notarized block whose bytes and ancestors are durable is certified, however late;
    /// then it is finalized, unless the view was nullified or its leader equivocated.
    fn certify(&mut self, out: &mut Vec<Output>) {
        for view in self.uncertified.clone() {
            let Some(digest) = self.rounds.get(&view).and_then(Round::notarized) else {
                continue;
            };
            if !self.pursue(digest, view, out) {
                continue;
            }
            self.uncertified.remove(&view);
            self.certified_max = self.certified_max.max(view);
            let equivocated = self.rounds.get(&view).is_none_or(|round| round.equivocated);
            if !equivocated
                && let Ok(vote) = self
                    .signer
                    .sign(Statement::Finalize { view, digest }, self.current)
            {
                let notarization = self
                    .rounds
                    .get(&view)
                    .and_then(|round| round.notarization.clone());
                self.log_certificate(notarization, out);
                self.cast(vote, out);
            }
        }
    }

    /// Rule 1: a view is entered on a certified notarization or a nullification of the one before
    /// it, or on a finalization of it or a later one; from any view ahead, never back.
    fn enter(&mut self, out: &mut Vec<Output>) {
        let closed = self
            .finalized_view()
            .max(self.nullified_max)
            .max(self.certified_max);
        if closed.next() > self.current {
            self.log_certificate(self.opener(closed.next()), out);
            self.open(closed.next(), out);
        }
    }

    /// Rule 7: a view that lasts too long, whose notarized block is malformed, whose leader has
    /// proposed nothing and says that it gives up, or is known to be silent, is nullified; then its
    /// votes and what opened it are repeated.
    fn give_up_when_due(&mut self, out: &mut Vec<Output>) {
        let leader = self.leader(self.current).unwrap_or_default();
        let round = self.rounds.get(&self.current);
        let malformed = round.is_some_and(|round| round.malformed);
        let withdrawn = self.timers.awaits_proposal()
            && round.is_some_and(|round| round.votes.has_nullified(leader));
        if self.timers.is_expired(self.now) {
            self.timeouts = self.timeouts.saturating_add(1);
            let late = if self.timers.awaits_proposal() {
                &mut self.tally.leaders_late
            } else {
                &mut self.tally.views_late
            };
            *late = late.saturating_add(1);
            if let Some(peer) = self.peers.get_mut(leader.index()) {
                peer.timeouts = peer.timeouts.saturating_add(1);
            }
            self.silence.on_timeout(leader, self.entered_at);
            self.nullify(out);
        } else if malformed {
            self.nullify(out);
        } else if withdrawn {
            self.tally.leaders_withdrawn = self.tally.leaders_withdrawn.saturating_add(1);
            self.nullify(out);
        } else if !self.timers.is_given_up() && self.silence.is_known(leader) {
            self.tally.leaders_silent = self.tally.leaders_silent.saturating_add(1);
            self.nullify(out);
        }
        let retry = self.pace().retry_ms();
        if self
            .timers
            .take_retry(self.now, self.now.saturating_add(retry))
        {
            self.repeat(out);
        }
    }

    /// At a standstill: the own votes of this view, late finalize votes, and what opened the view.
    fn repeat(&mut self, out: &mut Vec<Output>) {
        self.tally.repetitions = self.tally.repetitions.saturating_add(1);
        let from = self.finalized_view().next();
        let recent = self.current.saturating_sub(FINALIZE_BACK_MAX).max(from);
        let current = self.current;
        let matters = |vote: &&Vote| {
            vote.statement.view() == current || matches!(vote.statement, Statement::Finalize { .. })
        };
        let votes: Vec<Vote> = self
            .signer
            .votes_from(recent)
            .filter(matters)
            .cloned()
            .collect();
        for vote in votes {
            self.send_vote(vote, out);
        }
        if let Some(certificate) = self.opener(current) {
            self.send(To::All, ConsensusMessage::Certificate(certificate), out);
        }
    }

    /// Asks peers for what this step found missing.
    fn ask(&mut self, out: &mut Vec<Output>) {
        // A replica that does not vote gets no help by voting late, so it asks.
        if !self.signer.is_voting() && self.timers.is_given_up() {
            let hint = self.leader(self.current).unwrap_or_default();
            self.fetches
                .need(FetchRequest::View(self.current), hint, self.now);
        }
        let (now, delta) = (self.now, self.config.delta_ms);
        let due = self
            .fetches
            .take_due(now, delta, self.config.me, self.peers.len());
        for (to, request) in due {
            self.send(To::One(to), ConsensusMessage::Request(request), out);
        }
    }

    fn assert_bounds(&self) {
        let top = self.current.saturating_add(VIEWS_AHEAD_MAX);
        let vote_views = self
            .rounds
            .iter()
            .rev()
            .find(|(_, round)| round.votes.len() > 0)
            .map(|(view, _)| *view);
        debug_assert!(
            vote_views.is_none_or(|view| view <= top),
            "votes are kept for near views"
        );
        debug_assert!(
            self.rounds
                .keys()
                .next()
                .is_none_or(|view| *view >= self.finalized_view()),
            "nothing is kept below the final view"
        );
        debug_assert!(
            self.rounds
                .values()
                .all(|round| round.votes.len() <= self.peers.len().saturating_mul(3)),
            "one vote of a kind per member"
        );
        debug_assert!(
            self.tree.far() <= FAR_HEADERS_MAX,
            "headers without bytes are few"
        );
    }

    // ---- what several rules use --------------------------------------------------------------

    /// Takes up a good certificate. Whether it was news.
    pub(crate) fn accept(&mut self, certificate: Certificate, out: &mut Vec<Output>) -> bool {
        self.report_conflict(&certificate, out);
        if self.is_known(&certificate.statement) {
            return false;
        }
        self.look_for_own_vote(&certificate, out);
        match certificate.statement {
            Statement::Notarize { view, digest } => {
                let round = self.rounds.entry(view).or_default();
                // The leader proposed another block to us than to the quorum.
                round.equivocated |= round
                    .proposal
                    .as_ref()
                    .is_some_and(|offer| offer.digest != digest);
                round.notarization = Some(certificate);
                self.uncertified.insert(view);
                self.tree.on_notarized(&digest, view);
                out.push(Output::Notarized { view, digest });
            }
            Statement::Nullify { view } => {
                self.rounds.entry(view).or_default().nullification = Some(certificate);
                self.nullified_max = self.nullified_max.max(view);
            }
            Statement::Finalize { view, .. } => {
                self.finalization = Some(certificate);
                self.tree.on_final(view);
                self.timeouts = 0;
                self.rounds = self.rounds.split_off(&view);
                self.uncertified = self.uncertified.split_off(&view.next());
                self.logged.retain(|statement| statement.view() >= view);
                self.signer.raise_floor(view.next());
            }
        }
        true
    }

    /// A certificate held here that a statement contradicts.
    fn contradicted(&self, statement: &Statement) -> Option<&Certificate> {
        let round = self.rounds.get(&statement.view());
        let mut held = round
            .into_iter()
            .filter(|round| !round.conflicting)
            .flat_map(Round::certificates)
            .chain(&self.finalization);
        held.find(|held| contradict(&held.statement, statement))
    }

    /// Two good certificates that contradict each other: a third of the weight broke the rules. Said
    /// once a view.
    fn report_conflict(&mut self, certificate: &Certificate, out: &mut Vec<Output>) {
        let held = self.contradicted(&certificate.statement).cloned();
        let evidence = held
            .and_then(|held| Evidence::of_certificates(self.place(), held, certificate.clone()));
        if let Some(evidence) = evidence {
            let round = self.rounds.entry(certificate.view()).or_default();
            if !std::mem::replace(&mut round.conflicting, true) {
                out.push(Output::Fault(Box::new(evidence)));
            }
        }
    }

    /// Chain and epoch.
    fn place(&self) -> (ChainRef, Epoch) {
        let instance = self.config.committee.instance();
        (instance.chain, instance.epoch)
    }

    /// Falls mute when a certificate proves that the own key signed what this replica did not: two
    /// that sign with one key, or one that has lost a part of its log, would contradict each other.
    /// Who is mute looks as well: the other may go on.
    fn look_for_own_vote(&mut self, certificate: &Certificate, out: &mut Vec<Output>) {
        let statement = certificate.statement;
        let members = self.config.committee.committee().members.len();
        let signers = certificate.signers.members(members).unwrap_or_default();
        let is_foreign =
            signers.contains(&self.config.me) && self.signer.has_signed(&statement) == Some(false);
        if is_foreign && self.signer.has_key() && !self.saw_foreign {
            self.on_voice(Voice::Mute);
            self.saw_foreign = true;
            out.push(Output::SignedElsewhere { statement });
        }
    }

    /// Whether a certificate of this statement would change nothing.
    pub(crate) fn is_known(&self, statement: &Statement) -> bool {
        let view = statement.view();
        let round = self.rounds.get(&view);
        view <= self.finalized_view()
            || match statement {
                Statement::Notarize { .. } => round.is_some_and(|r| r.notarization.is_some()),
                Statement::Nullify { .. } => round.is_some_and(|r| r.nullification.is_some()),
                Statement::Finalize { .. } => false,
            }
    }

    /// Nullifies the current view, if that may still be signed, and gives it up.
    pub(crate) fn nullify(&mut self, out: &mut Vec<Output>) {
        if let Ok(vote) = self
            .signer
            .sign(Statement::Nullify { view: self.current }, self.current)
        {
            self.cast(vote, out);
        }
        self.lead = Lead::No;
        let retry = self.pace().retry_ms();
        self.timers.on_give_up(self.now.saturating_add(retry));
    }

    /// Notarizes a verified proposal of the current view.
    pub(crate) fn notarize(&mut self, view: View, digest: Digest, out: &mut Vec<Output>) {
        if let Ok(vote) = self
            .signer
            .sign(Statement::Notarize { view, digest }, self.current)
        {
            self.cast(vote, out);
        }
    }

    /// Logs a fresh vote, sends it when it is durable, and counts it then.
    fn cast(&mut self, vote: Vote, out: &mut Vec<Output>) {
        self.log_vote(vote.clone(), out);
        self.send_vote(vote, out);
    }

    /// Logs a fresh vote; it counts once it is durable.
    pub(crate) fn log_vote(&mut self, vote: Vote, out: &mut Vec<Output>) {
        self.persist(LogEntry::Vote(vote.clone()), out);
        self.undurable.push_back((self.last_position, vote));
    }

    fn log_certificate(&mut self, certificate: Option<Certificate>, out: &mut Vec<Output>) {
        if let Some(certificate) = certificate
            && self.logged.insert(certificate.statement)
        {
            self.persist(LogEntry::Certificate(certificate), out);
        }
    }

    fn persist(&mut self, entry: LogEntry, out: &mut Vec<Output>) {
        self.last_position = self.last_position.next();
        let instance = self.config.committee.instance();
        let (chain, epoch) = (instance.chain, instance.epoch);
        let record = Box::new(VoteRecord {
            version: Version,
            chain,
            epoch,
            entry,
        });
        out.push(Output::Persist {
            position: self.last_position,
            record,
        });
    }

    /// Sends an own vote after all that is logged so far.
    pub(crate) fn send_vote(&self, vote: Vote, out: &mut Vec<Output>) {
        self.send_logged(To::All, ConsensusMessage::Vote(vote), out);
    }

    /// Sends what the replica signed, once all that is logged so far is durable.
    pub(crate) fn send_logged(&self, to: To, message: ConsensusMessage, out: &mut Vec<Output>) {
        out.push(Output::Send {
            after: self.last_position,
            to,
            message: Box::new(message),
        });
    }

    /// Sends what the replica did not sign.
    pub(crate) fn send(&self, to: To, message: ConsensusMessage, out: &mut Vec<Output>) {
        out.push(Output::Send {
            after: LogPosition::ZERO,
            to,
            message: Box::new(message),
        });
    }

    /// Whether a block is connected; asks for what is missing when it is not.
    pub(crate) fn pursue(&mut self, digest: Digest, view: View, out: &mut Vec<Output>) -> bool {
        let needs = self.tree.pursue(digest);
        let connected = needs.is_empty();
        for need in needs {
            match need {
                Need::Fetch(digest) => {
                    let hint = self.leader(view).unwrap_or_default();
                    self.fetches
                        .need(FetchRequest::Block(digest), hint, self.now);
                }
                Need::Store(digest) => {
                    self.fetches.pause(FetchRequest::Block(digest));
                    out.push(Output::Certify { digest });
                }
                Need::Wait(digest) => self.fetches.pause(FetchRequest::Block(digest)),
                Need::Dead => {}
                Need::Behind(height, digest) => {
                    if self.behind_at.is_none_or(|at| at <= self.now) {
                        let patience = self.config.delta_ms.saturating_mul(4).max(1);
                        self.behind_at = Some(self.now.saturating_add(patience));
                        out.push(Output::Behind { height, digest });
                    }
                }
                Need::Malformed(digest) => {
                    if self.uncertified.remove(&view) {
                        out.push(Output::MalformedNotarized { digest });
                    }
                    self.rounds.entry(view).or_default().malformed = true;
                }
            }
        }
        connected
    }

    /// The best certificate that opens `view`: a finalization, else the nullification or the
    /// notarization of the view before.
    pub(crate) fn opener(&self, view: View) -> Option<Certificate> {
        let before = view.previous()?;
        if self
            .finalization
            .as_ref()
            .is_some_and(|final_one| final_one.view() >= before)
        {
            return self.finalization.clone();
        }
        self.rounds
            .get(&before)
            .and_then(|round| round.certificates().next().cloned())
    }

    /// Enters a view.
    fn open(&mut self, view: View, out: &mut Vec<Output>) {
        self.current = view;
        self.entered_at = self.now;
        self.timers = Timers::of_view(self.pace(), self.now);
        if self
            .rounds
            .get(&view)
            .is_some_and(|round| round.proposal.is_some())
        {
            self.timers.on_proposal();
        }
        let leader = self.leader(view).unwrap_or_default();
        let leads =
            leader == self.config.me && self.signer.is_voting() && view >= self.propose_from;
        self.lead = if leads { Lead::Wanted } else { Lead::No };
        self.forget_votes_of_old_views();
        out.push(Output::Entered { view, leader });
    }

    fn forget_votes_of_old_views(&mut self) {
        let horizon = self.current.saturating_sub(VOTES_BACK_MAX);
        for round in self.rounds.range_mut(..horizon).map(|(_, round)| round) {
            if round.nullification.is_some() {
                round.votes = crate::votes::Votes::default();
                round.proposal = None;
            }
        }
    }

    /// Takes up the log at the first step: own votes count again and are sent again, certificates
    /// are believed, the view is the latest one that was entered, and its timers are armed. A leader
    /// proposes only where it has not voted: its own notarize is in the log before a proposal leaves,
    /// so without it none did.
    fn resume(&mut self, log: Vec<VoteRecord>, out: &mut Vec<Output>) {
        let root_view = self.finalized_view();
        self.signer.raise_floor(root_view.next());
        self.propose_from = root_view.next();
        let mut entered = root_view.next();
        for record in &log {
            let (view, next) = (record.entry.view(), record.entry.view().next());
            match &record.entry {
                LogEntry::Vote(vote) => {
                    self.signer.restore(vote.clone());
                    entered = entered.max(view);
                    self.propose_from = self.propose_from.max(next);
                }
                LogEntry::Certificate(certificate) => {
                    self.logged.insert(certificate.statement);
                    self.accept(certificate.clone(), out);
                    entered = entered.max(next);
                }
                LogEntry::Floor(floor) => {
                    self.signer.raise_floor(*floor);
                    entered = entered.max(*floor);
                    self.propose_from = self.propose_from.max(*floor);
                }
                // What is of the key was refused at the start.
                _ => {}
            }
        }
        self.signer.raise_floor(self.finalized_view().next());
        self.open(entered, out);
        if self
            .signer
            .votes(entered)
            .is_some_and(|own| own.nullify.is_some())
        {
            let retry = self.pace().retry_ms();
            self.timers.on_give_up(self.now.saturating_add(retry));
        }
        let own: Vec<Vote> = self.signer.votes_from(View::ZERO).cloned().collect();
        let recent = entered.saturating_sub(RESEND_BACK_MAX);
        for vote in own {
            self.on_vote(vote.clone(), out);
            if self.signer.is_voting() && vote.statement.view() >= recent {
                self.send_vote(vote, out);
            }
        }
    }

    pub(crate) fn pace(&self) -> Pace {
        Pace {
            delta_ms: self.config.delta_ms,
            timeouts: self.timeouts,
        }
    }

    /// The newest view known to be final.
    pub(crate) fn finalized_view(&self) -> View {
        self.finalization
            .as_ref()
            .map_or(View::ZERO, Certificate::view)
    }

    pub(crate) fn leader(&mut self, view: View) -> Option<MemberIndex> {
        self.leaders.leader(view)
    }

    pub(crate) fn weight(&self, member: MemberIndex) -> Option<Weight> {
        self.config
            .committee
            .committee()
            .member(member)
            .map(|member| member.weight)
    }

    pub(crate) fn is_nullified(&self, view: View) -> bool {
        self.rounds
            .get(&view)
            .is_some_and(|round| round.nullification.is_some())
    }
}

fn check_start(config: &Config, start: &Start) -> Result<(), StartError> {
    start.root.check()?;
    let committee = config.committee.committee();
    let (me, members) = (config.me, committee.members.len());
    let member = committee
        .member(me)
        .ok_or(StartError::Member { me, members })?;
    if config
        .secret
        .as_ref()
        .is_some_and(|secret| secret.public_key() != member.public_key)
    {
        return Err(StartError::Key { me });
    }
    for (position, record) in (1_u64..).zip(&start.log) {
        let (chain, epoch) = (record.chain, record.epoch);
        let is_own = chain == committee.chain && epoch == committee.epoch;
        if !is_own || record.entry.is_of_key() {
            return Err(StartError::Record {
                position,
                chain,
                epoch,
            });
        }
        if let LogEntry::Vote(vote) = &record.entry
            && vote.signer != me
        {
            return Err(StartError::Signer {
                position,
                signer: vote.signer,
            });
        }
    }
    Ok(())
}
