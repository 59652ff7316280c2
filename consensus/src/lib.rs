//! Stake-weighted Simplex as a pure state machine: [`replica::Replica::step`] takes an input at a
//! time and appends what is to be done. The crate has no clock, no randomness, no I/O and no
//! threads; the node and the simulator drive the same code.
//!
//! # The protocol in words
//!
//! Members have weights; a *quorum* is more than two thirds of the total (⌊2W/3⌋+1). Time is cut
//! into *views*, each with a scheduled leader. A member makes at most three statements of a view:
//! *notarize* a block, *nullify* the view, *finalize* a block. A quorum of one statement is a
//! certificate. Notarization and nullification of one view may both exist; finalization and
//! nullification cannot, because nobody honest signs both.
//!
//! 1. A view is entered on a certified notarization or a nullification of the view before, or on a
//!    finalization of it or of a later one. Certificates of any view ahead count; views never go
//!    back.
//! 2. On entry two timers start: 2 Δ for the proposal, 3 Δ for a certified block. A leader without
//!    work may wait for the first half of its time.
//! 3. The leader builds on the highest certified view whose later views are all nullified; it asks
//!    for what it lacks. If it cannot build it nullifies at once.
//! 4. The first proposal of the scheduled leader is notarized when its parent is certified or
//!    final, not below a final view, every view between is nullified, and the glue finds it valid.
//!    What is missing is fetched from the leader and looked at again. What is wrong for good
//!    nullifies the view. A header more than 500 ms ahead of the clock waits. A working block more
//!    than 16 heights above the finalization that its proposal carries is nullified.
//! 5. A notarized block is *certified* when its bytes and those of its ancestors are durable here.
//!    Then it is finalized, unless this member nullified the view or saw its leader propose two
//!    blocks. Certification goes on after a nullification, until the view is final.
//! 6. An own notarize is not needed to finalize; one for another block forbids it.
//! 7. A timer, a proposal wrong for good, a leader that cannot build, one whose own nullify comes
//!    instead of a proposal, or one that is known to be silent nullifies the current view.
//!    Every 3 Δ after that the votes of the view are repeated, with the certificate that opened it.
//! 8. A finalization finalizes its block and all ancestors; those that are missing are fetched, or
//!    synced in bulk when there are many. Finalize votes that come late keep counting.
//!
//! Timeouts grow by a quarter per view that timed out here, after the third, up to a minute, until
//! something is final.
//!
//! # What is durable before what
//!
//! Every own vote is in the vote log before it is sent or counted, and so is, before it, every
//! certificate that opened a view or that a finalize relies on. Bytes of a block are durable before
//! its finalize is signed. After a restart the own votes count and are sent again, the latest view
//! entered is resumed with its timers armed, and nothing is proposed in a view of an own vote: a
//! proposal leaves only once the own notarize is in the log.
//!
//! A replica that is *mute* ([`safety::Voice`]) has a key whose history is not whole. It follows like
//! any other and signs nothing; a certificate with a vote of the own key that is not in the log makes
//! it so by itself. When that is over is the glue's business.
//!
//! # What is absent
//!
//! The crate never looks at a body, a result or a beacon reference (the glue verifies), never waits
//! for anything but its inputs, and holds no bytes of blocks: they pass through to the glue.
//!
//! # Data flow
//!
//! ```text
//! messages ─▶ votes, certificates, proposals ─▶ rules ─▶ Persist, Send, Check, Build, Verify,
//! answers  ─▶ (round, tree, checks, fetches)  ─▶        Certify, Block, Finalized, Fault, …
//! ```
//!
//! | file | question it answers |
//! |---|---|
//! | [`config`] | what a replica is given, and every bound of the crate |
//! | [`input`], [`output`] | what it is told, what it asks for |
//! | [`replica`] | the match over inputs, and the rules in their order |
//! | `lead`, `follow`, `serve` | rule 3, rule 4, what is done for others |
//! | [`safety`] | what may be signed; the only holder of the key |
//! | `rules` | what a header must satisfy |
//! | `round`, `votes` | one view: certificates, weight by statement |
//! | `tree` | blocks above the final one, and which are connected |
//! | `timers`, `silence` | what is waited for, and for whom not |
//! | `fetches`, `checks` | what is asked for, being checked |
//! | [`check`] | signature checks as pure jobs |
//! | [`log`] | the records of the vote log |
//! | [`status`], [`error`] | what operators see, why something is refused |

#![cfg_attr(
    not(test),
    warn(
        clippy::indexing_slicing,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_possible_wrap
    )
)]

pub mod check;
mod checks;
pub mod config;
pub mod error;
mod fetches;
mod follow;
pub mod input;
mod lead;
pub mod log;
pub mod output;
pub mod replica;
mod round;
mod rules;
pub mod safety;
mod serve;
mod silence;
pub mod status;
mod timers;
mod tree;
mod votes;

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
