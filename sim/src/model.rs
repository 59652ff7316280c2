//! An exhaustive search of what the vote rules allow: three honest members and a Byzantine one,
//! three views, two candidate blocks in each.
//!
//! Every honest member may do, at any time and in any order, whatever the rules permit: notarize a
//! candidate whose parent is notarized with all views between nullified, nullify its view, go on to
//! a later view when a certificate allows it, finalize what is notarized. Whether a vote may be
//! signed beside the own ones is asked of [`skerry_consensus::safety::guard`] itself, and whether a
//! parent will do of [`skerry_consensus::safety::guard_parent`]. What an honest
//! member has *seen* is not modelled: whatever exists may be seen or not, so every loss, delay and
//! order of messages is covered. The Byzantine member's votes for everything exist all the time:
//! more votes only allow more, so each of its behaviours is covered. It leads every view and chooses
//! the candidates' parents.
//!
//! The search goes breadth first over all reachable states, of which one stands for those that
//! differ only in the names of a view's candidates or of members of equal weight. In each it
//! demands:
//!
//! 1. no view has two notarizations, two finalizations, or a finalization beside a nullification;
//! 2. whatever is notarized above a finalized block descends from it.

use skerry_consensus::error::{ParentRefusal, Refusal};
use skerry_consensus::safety::{OwnVotes, ParentStanding, guard, guard_parent};
use skerry_types::committee::quorum_of;
use skerry_types::crypto::bls::Signature;
use skerry_types::ids::{Digest, MemberIndex, View};
use skerry_types::vote::{Statement, Vote};
use std::collections::HashSet;
use std::fmt;
use std::hash::{BuildHasherDefault, Hasher};

const VIEWS: usize = 3;
const CANDIDATES: usize = 2;
const HONEST: usize = 3;
/// Codes of a member's votes in a view: notarize (4) × nullify (2) × finalize (4).
const CODES: usize = 32;

/// The committees of the search: weights of all four members.
pub const COMMITTEES: [[u8; HONEST + 1]; 3] = [[1, 1, 1, 1], [3, 3, 2, 1], [5, 4, 3, 3]];

/// What decides whether a vote may be signed.
pub type Guard = fn(&OwnVotes, &Statement, View) -> Result<(), Refusal>;

/// What decides whether a block may be notarized on its parent.
pub type ParentGuard =
    fn(ParentStanding, View, View, &dyn Fn(View) -> bool) -> Result<(), ParentRefusal>;

/// The rules that are searched.
#[derive(Clone, Copy, Debug)]
pub struct VoteRules {
    /// Beside the own votes.
    pub guard: Guard,
    /// On a parent.
    pub parent: ParentGuard,
}

impl Default for VoteRules {
    /// Those of the product.
    fn default() -> Self {
        Self {
            guard,
            parent: guard_parent,
        }
    }
}

/// Who is honest and who is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setting {
    /// Weights of the honest members, equal ones side by side.
    pub honest: [u8; HONEST],
    /// Weight of the Byzantine member: below a third of all.
    pub byzantine: u8,
}

impl Setting {
    /// All choices of the Byzantine member in a committee, one of each weight.
    pub fn of(committee: [u8; HONEST + 1]) -> Vec<Self> {
        let total: u16 = committee.iter().map(|weight| u16::from(*weight)).sum();
        let mut settings: Vec<Self> = Vec::new();
        for (place, byzantine) in committee.iter().copied().enumerate() {
            let mut honest = [0; HONEST];
            let others = committee.iter().enumerate().filter(|(at, _)| *at != place);
            for (slot, (_, weight)) in honest.iter_mut().zip(others) {
                *slot = *weight;
            }
            honest.sort_unstable();
            let setting = Self { honest, byzantine };
            if u16::from(byzantine) * 3 < total && !settings.contains(&setting) {
                settings.push(setting);
            }
        }
        settings
    }

    fn quorum(&self) -> u128 {
        let honest: u128 = self.honest.iter().map(|weight| u128::from(*weight)).sum();
        quorum_of(honest + u128::from(self.byzantine))
    }
}

impl fmt::Display for Setting {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { honest, byzantine } = self;
        write!(formatter, "honest {honest:?}, Byzantine {byzantine}")
    }
}

/// What a search saw.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Explored {
    /// States, up to the names of candidates and equal members.
    pub states: u64,
    /// Steps from one to another.
    pub steps: u64,
    /// Most steps from the start to a state, by the shortest way.
    pub depth: u32,
    /// States with a finalized block.
    pub finalized: u64,
    /// States with blocks finalized in two views.
    pub finalized_twice: u64,
}

/// A state that breaks a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// The rule.
    pub rule: &'static str,
    /// Everybody's votes.
    pub state: String,
}

/// The votes of a member in a view.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Votes {
    /// A bit for each candidate; the guard allows one.
    notarize: u8,
    nullify: bool,
    /// A bit for each candidate; the guard allows one.
    finalize: u8,
}

impl Votes {
    const fn code(self) -> u8 {
        self.notarize | (self.nullify as u8) << 2 | self.finalize << 3
    }

    const fn of_code(code: u8) -> Self {
        Self {
            notarize: code & 3,
            nullify: code >> 2 & 1 == 1,
            finalize: code >> 3 & 3,
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Member {
    votes: [Votes; VIEWS],
}

impl Member {
    /// The lowest view that it may be in: it stays where it notarized or nullified, and leaves what
    /// it finalized. When it goes on is decided by its next vote, so the view itself is no part of a
    /// state.
    fn current(&self) -> usize {
        let least = |(view, votes): (usize, &Votes)| match votes {
            votes if votes.finalize > 0 => view + 1,
            votes if votes.notarize > 0 || votes.nullify => view,
            _ => 0,
        };
        self.votes.iter().enumerate().map(least).max().unwrap_or(0)
    }

    fn code(&self) -> u64 {
        self.votes
            .iter()
            .fold(0, |code, votes| code << 5 | u64::from(votes.code()))
    }

    fn of_code(mut code: u64) -> Self {
        let mut member = Self::default();
        for votes in member.votes.iter_mut().rev() {
            *votes = Votes::of_code((code & 31) as u8);
            code >>= 5;
        }
        member
    }
}

/// Not proposed yet.
const UNPROPOSED: u8 = 0;
/// The start of the chain.
const GENESIS: u8 = 1;

/// The parent that is a candidate of a view.
const fn candidate(view: usize, which: usize) -> u8 {
    (view * CANDIDATES + which) as u8 + 2
}

/// View and candidate of a parent that is no start.
const fn place_of(parent: u8) -> (usize, usize) {
    let index = parent as usize - 2;
    (index / CANDIDATES, index % CANDIDATES)
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct State {
    members: [Member; HONEST],
    parents: [[u8; CANDIDATES]; VIEWS],
}

impl State {
    /// 15 bits a member, then three for each candidate above the first view, whose parent is the
    /// start.
    fn code(&self) -> u64 {
        let members = self
            .members
            .iter()
            .fold(0, |code, member| code << 15 | member.code());
        let parents = self.parents.iter().skip(1).flatten();
        parents.fold(members, |code, parent| code << 3 | u64::from(*parent))
    }

    fn of_code(mut code: u64) -> Self {
        let mut state = Self::default();
        for parent in state.parents.iter_mut().skip(1).flatten().rev() {
            *parent = (code & 7) as u8;
            code >>= 3;
        }
        for member in state.members.iter_mut().rev() {
            *member = Member::of_code(code & ((1 << 15) - 1));
            code >>= 15;
        }
        state.parents[0] = [GENESIS; CANDIDATES];
        state
    }

    /// The same with the candidates of some views renamed.
    fn swapped(mut self, mask: usize) -> Self {
        let is_swapped = |view: usize| mask >> view & 1 == 1;
        for view in (0..VIEWS).filter(|view| is_swapped(*view)) {
            for member in &mut self.members {
                let votes = &mut member.votes[view];
                for vote in [&mut votes.notarize, &mut votes.finalize] {
                    *vote = *vote >> 1 & 1 | (*vote & 1) << 1;
                }
            }
            self.parents[view].swap(0, 1);
        }
        for parent in self.parents.iter_mut().flatten() {
            if *parent > GENESIS {
                let (view, which) = place_of(*parent);
                if is_swapped(view) {
                    *parent = candidate(view, 1 - which);
                }
            }
        }
        self
    }

    /// The one that stands for all states that are alike.
    fn canonical(self, setting: &Setting) -> u64 {
        let least = |mask| {
            let mut state = self.swapped(mask);
            // Equal weights stand side by side; three members sort in three exchanges.
            for (one, other) in [(0, 1), (1, 2), (0, 1)] {
                if setting.honest[one] == setting.honest[other]
                    && state.members[one].code() > state.members[other].code()
                {
                    state.members.swap(one, other);
                }
            }
            state.code()
        };
        (0..1 << VIEWS).map(least).min().unwrap_or_default()
    }
}

/// Which certificates can be made of the votes of a state.
struct Certificates {
    notarized: [[bool; CANDIDATES]; VIEWS],
    nullified: [bool; VIEWS],
    finalized: [[bool; CANDIDATES]; VIEWS],
}

impl Certificates {
    fn of(state: &State, setting: &Setting) -> Self {
        let quorum = setting.quorum();
        let has_quorum = |counts: &dyn Fn(&Member) -> bool| {
            let weights = state.members.iter().zip(setting.honest);
            let honest: u128 = weights
                .filter(|(member, _)| counts(member))
                .map(|(_, weight)| u128::from(weight))
                .sum();
            honest + u128::from(setting.byzantine) >= quorum
        };
        let mut made = Self {
            notarized: [[false; CANDIDATES]; VIEWS],
            nullified: [false; VIEWS],
            finalized: [[false; CANDIDATES]; VIEWS],
        };
        for view in 0..VIEWS {
            made.nullified[view] = has_quorum(&|member| member.votes[view].nullify);
            for which in 0..CANDIDATES {
                let own = 1 << which;
                made.notarized[view][which] =
                    has_quorum(&|member| member.votes[view].notarize & own > 0);
                made.finalized[view][which] =
                    has_quorum(&|member| member.votes[view].finalize & own > 0);
            }
        }
        made
    }

    /// Whether a view may be left for the next.
    fn ends(&self, view: usize) -> bool {
        self.nullified[view]
            || self.notarized[view].contains(&true)
            || self.finalized[view].contains(&true)
    }

    /// Whether an honest member may notarize on this parent in `view`. It may not have seen anything
    /// final.
    fn allow_parent(&self, rule: ParentGuard, view: usize, parent: u8) -> bool {
        let number = |view: usize| View::new(view as u64 + 1);
        let standing = match parent {
            UNPROPOSED => return false,
            GENESIS => ParentStanding {
                base: View::ZERO,
                is_final: true,
                is_notarized: false,
            },
            parent => {
                let (at, which) = place_of(parent);
                ParentStanding {
                    base: number(at),
                    is_final: false,
                    is_notarized: self.notarized[at][which],
                }
            }
        };
        let is_nullified = |at: View| {
            let nullified = self.nullified.iter().enumerate();
            nullified
                .filter(|(view, _)| number(*view) == at)
                .any(|(_, nullified)| *nullified)
        };
        rule(standing, number(view), View::ZERO, &is_nullified).is_ok()
    }
}

/// Answers of the guard, asked once for every combination.
struct Rules {
    allowed: [[[bool; 2]; 1 + 2 * CANDIDATES]; CODES],
    parent: ParentGuard,
}

/// The statements of a view: nullify, notarize each candidate, finalize each candidate.
const NULLIFY: usize = 0;
const NOTARIZE: usize = 1;
const FINALIZE: usize = NOTARIZE + CANDIDATES;

impl Rules {
    fn of(rules: VoteRules) -> Self {
        let view = View::new(2);
        let digest = |which: usize| Digest::new([which as u8 + 1; 32]);
        let notarize = |which| Statement::Notarize {
            view,
            digest: digest(which),
        };
        let finalize = |which| Statement::Finalize {
            view,
            digest: digest(which),
        };
        let vote = |statement| Vote {
            statement,
            signer: MemberIndex::default(),
            signature: Signature([0; 96]),
        };
        let statements = [
            Statement::Nullify { view },
            notarize(0),
            notarize(1),
            finalize(0),
            finalize(1),
        ];
        let mut allowed = [[[false; 2]; 1 + 2 * CANDIDATES]; CODES];
        for (code, answers) in allowed.iter_mut().enumerate() {
            let votes = Votes::of_code(code as u8);
            // Only a broken guard lets there be two; it is shown the first.
            let which = |own: u8| (own > 0).then(|| own.trailing_zeros() as usize);
            let own = OwnVotes {
                notarize: which(votes.notarize).map(|which| vote(notarize(which))),
                nullify: votes.nullify.then(|| vote(Statement::Nullify { view })),
                finalize: which(votes.finalize).map(|which| vote(finalize(which))),
            };
            for (answers, statement) in answers.iter_mut().zip(&statements) {
                *answers =
                    [View::new(3), view].map(|now| (rules.guard)(&own, statement, now).is_ok());
            }
        }
        Self {
            allowed,
            parent: rules.parent,
        }
    }

    fn allow(&self, votes: Votes, statement: usize, is_current: bool) -> bool {
        self.allowed[usize::from(votes.code())][statement][usize::from(is_current)]
    }
}

/// All steps from a state.
fn steps(state: &State, certificates: &Certificates, rules: &Rules, take: &mut dyn FnMut(State)) {
    for (at, member) in state.members.iter().enumerate() {
        let mut step = |change: &dyn Fn(&mut Member, &mut State)| {
            let mut next = *state;
            let mut changed = *member;
            change(&mut changed, &mut next);
            next.members[at] = changed;
            take(next);
        };
        let current = member.current();
        // It is in this view, or goes on to one behind a certificate and votes there.
        let entered = (current..VIEWS)
            .filter(|view| *view == current || certificates.ends(view.saturating_sub(1)));
        for view in entered {
            let own = member.votes[view];
            if rules.allow(own, NULLIFY, true) {
                step(&|member, _| member.votes[view].nullify = true);
            }
            for which in 0..CANDIDATES {
                if !rules.allow(own, NOTARIZE + which, true) {
                    continue;
                }
                let proposed = state.parents[view][which];
                for parent in GENESIS..candidate(view, 0) {
                    let fits = proposed == UNPROPOSED || proposed == parent;
                    if fits && certificates.allow_parent(rules.parent, view, parent) {
                        step(&|member, state| {
                            member.votes[view].notarize |= 1 << which;
                            state.parents[view][which] = parent;
                        });
                    }
                }
            }
        }
        for view in 0..VIEWS {
            for which in 0..CANDIDATES {
                let is_current = view == current;
                if certificates.notarized[view][which]
                    && rules.allow(member.votes[view], FINALIZE + which, is_current)
                {
                    step(&|member, _| member.votes[view].finalize |= 1 << which);
                }
            }
        }
    }
}

/// The rule that a state breaks.
fn broken(state: &State, certificates: &Certificates) -> Option<&'static str> {
    for view in 0..VIEWS {
        let both = |of: [bool; CANDIDATES]| of.iter().all(|it| *it);
        if both(certificates.notarized[view]) {
            return Some("two notarizations in a view");
        }
        if both(certificates.finalized[view]) {
            return Some("two finalizations in a view");
        }
        if certificates.nullified[view] && certificates.finalized[view].contains(&true) {
            return Some("a finalization beside a nullification");
        }
        for which in 0..CANDIDATES {
            if !certificates.finalized[view][which] {
                continue;
            }
            for above in view + 1..VIEWS {
                for other in 0..CANDIDATES {
                    if certificates.notarized[above][other]
                        && !descends(state, candidate(above, other), candidate(view, which))
                    {
                        return Some("a notarized block that leaves out a finalized one");
                    }
                }
            }
        }
    }
    None
}

fn descends(state: &State, mut block: u8, ancestor: u8) -> bool {
    while block > ancestor {
        let (view, which) = place_of(block);
        block = state.parents[view][which];
    }
    block == ancestor
}

/// Searches all that can be reached.
///
/// # Errors
/// The first state found that breaks a rule.
pub fn explore(setting: &Setting, rules: VoteRules) -> Result<Explored, Broken> {
    let rules = Rules::of(rules);
    let start = State {
        parents: [
            [GENESIS; CANDIDATES],
            [UNPROPOSED; CANDIDATES],
            [UNPROPOSED; CANDIDATES],
        ],
        ..State::default()
    };
    let mut explored = Explored::default();
    let mut seen: HashSet<u64, BuildHasherDefault<Mix>> = HashSet::default();
    let start = start.canonical(setting);
    seen.insert(start);
    let mut layer = vec![start];
    while !layer.is_empty() {
        let mut next = Vec::new();
        for code in layer.drain(..) {
            let state = State::of_code(code);
            let certificates = Certificates::of(&state, setting);
            if let Some(rule) = broken(&state, &certificates) {
                let state = format!("{state:?}");
                return Err(Broken { rule, state });
            }
            explored.states += 1;
            let finalized = certificates
                .finalized
                .iter()
                .filter(|it| it.contains(&true));
            let views = finalized.count();
            explored.finalized += u64::from(views > 0);
            explored.finalized_twice += u64::from(views > 1);
            steps(&state, &certificates, &rules, &mut |after| {
                explored.steps += 1;
                let code = after.canonical(setting);
                if seen.insert(code) {
                    next.push(code);
                }
            });
        }
        explored.depth += u32::from(!next.is_empty());
        layer = next;
    }
    Ok(explored)
}

/// Searches all committees with the rules of the product, and prints what was seen.
///
/// # Errors
/// The first state found that breaks a rule.
pub fn explore_all() -> Result<(), Broken> {
    for committee in COMMITTEES {
        for setting in Setting::of(committee) {
            let explored = explore(&setting, VoteRules::default())?;
            println!(
                "model {committee:?}: {setting}: exhausted, {} states, {} steps, depth {}, {} with \
                 a final block, {} with two",
                explored.states,
                explored.steps,
                explored.depth,
                explored.finalized,
                explored.finalized_twice
            );
        }
    }
    Ok(())
}

/// Spreads codes over a hash table: the finalizer of splitmix64.
#[derive(Default)]
struct Mix(u64);

impl Hasher for Mix {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(self.0 ^ u64::from(*byte));
        }
    }
    fn write_u64(&mut self, value: u64) {
        let mut mixed = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        self.0 = mixed ^ mixed >> 31;
    }
}

#[cfg(test)]
mod tests;
