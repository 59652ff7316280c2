//! `skerry db verify DIR…`: judges stopped data directories, each by itself and against each other.
//!
//! Nothing is written: databases are opened for reading only, and what a crash left in a
//! write-ahead log is replayed in memory. Each chain is executed again from the genesis, with the
//! node's own jobs ([`crate::chain::jobs`]); every copy of it must hold the same blocks, valid
//! certificates, the results and receipts that this gives, and the state key by key. The value in
//! all chains is then counted on a consistent cut. What is wrong is a [`Violation`]; what cannot be
//! judged, such as a chain of which no copy was given, is a note.
//!
//! | file | question it answers |
//! |---|---|
//! | `layout` | which databases lie in the given folders |
//! | `replay` | what a chain is, and does, from its genesis on |
//! | `copies` | whether one copy holds just that |
//! | `cut` | whether the value of all chains together is what was issued |
//! | `views` | which views brought no final block, and who led them |

mod copies;
mod cut;
mod layout;
mod replay;
#[cfg(test)]
mod tests;
mod views;

pub use self::views::{EpochReport, MemberReport, SkippedView};

use self::copies::ChainCopy;
use self::replay::Replayed;
use crate::cli::{CliError, Exit, Output};
use crate::error::NodeError;
use crate::{assemble, home};
use serde::Serialize;
use skerry_types::amount::Amount;
use skerry_types::genesis::Genesis;
use skerry_types::ids::{ChainRef, Denom, Digest, Height};
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

/// Violations and notes that are kept in full; more are counted.
const FINDINGS_MAX: usize = 200;

/// Arguments of `skerry db verify`.
#[derive(Clone, Debug, clap::Args)]
pub struct VerifyArgs {
    /// Data directories, node homes, or folders of node homes
    #[arg(required = true, value_name = "DIR")]
    pub dirs: Vec<PathBuf>,
    /// The genesis file [default: genesis.json in or above a DIR]
    #[arg(long, value_name = "FILE")]
    pub genesis: Option<PathBuf>,
}

/// Something that must not be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Violation {
    /// The broken rule, a stable name.
    pub rule: &'static str,
    /// Which chain, and where it was found.
    pub place: String,
    /// What was expected and what was found.
    pub detail: String,
}

/// One copy of a chain.
#[derive(Clone, Debug, Serialize)]
pub struct CopyReport {
    /// The data directory.
    pub dir: String,
    /// Its newest final block.
    pub finalized: Height,
    /// The block whose state it stores.
    pub state_at: Height,
}

/// One chain, over all copies.
#[derive(Clone, Debug, Serialize)]
pub struct ChainReport {
    /// The chain.
    pub chain: ChainRef,
    /// Its newest final block in any copy, all of them executed again.
    pub height: Height,
    /// Working blocks among them.
    pub working: u64,
    /// Transactions that were executed, void ones not counted.
    pub transactions: u64,
    /// Messages that were executed.
    pub messages: u64,
    /// Distinct finalizations that were verified.
    pub certificates: u64,
    /// Its epochs, with the views that brought no final block.
    pub epochs: Vec<EpochReport>,
    /// The copies.
    pub copies: Vec<CopyReport>,
}

/// The value of one denom on the cut.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SupplyReport {
    /// Which.
    pub denom: Denom,
    /// Balances of accounts.
    pub balances: Amount,
    /// Balances of the fee accounts.
    pub fees: Amount,
    /// Claims.
    pub claims: Amount,
    /// In records of modules, such as the reserves of pools.
    pub held: Amount,
    /// In messages that are accepted and wait for gas.
    pub waiting: Amount,
    /// In messages that are sent and not accepted.
    pub in_flight: Amount,
    /// Destroyed.
    pub burnt: Amount,
    /// Issued: at genesis and by the token's authority.
    pub issued: Amount,
}

impl SupplyReport {
    /// What the parts sum to; `None` above 2^128.
    pub fn accounted(&self) -> Option<Amount> {
        [
            self.balances,
            self.fees,
            self.claims,
            self.held,
            self.waiting,
            self.in_flight,
            self.burnt,
        ]
        .into_iter()
        .try_fold(Amount::ZERO, Amount::checked_add)
    }
}

/// What was found.
#[derive(Clone, Debug, Serialize)]
pub struct VerifyReport {
    /// The network.
    pub chain_id: Digest,
    /// Chains, the beacon first.
    pub chains: Vec<ChainReport>,
    /// Heights of the consistent cut on which value was counted; empty when there was none.
    pub cut: BTreeMap<ChainRef, Height>,
    /// Value on the cut, by denom.
    pub supply: Vec<SupplyReport>,
    /// What could not be judged.
    pub notes: Vec<String>,
    /// What must not be, the first of it.
    pub violations: Vec<Violation>,
    /// How many violations there are.
    pub violation_count: usize,
}

impl VerifyReport {
    /// Whether nothing is wrong.
    pub const fn is_ok(&self) -> bool {
        self.violation_count == 0
    }

    /// The command's result.
    ///
    /// # Errors
    /// When there are violations; the report is then the error's data.
    pub fn into_output(self) -> Result<Output, CliError> {
        let text = self.to_string();
        let data = serde_json::to_value(&self).unwrap_or_default();
        if self.is_ok() {
            return Ok(Output::new(data, text));
        }
        let message = format!(
            "{} violations in the data directories",
            self.violation_count
        );
        Err(CliError::new(Exit::DataDir, "VIOLATIONS", message)
            .why(text)
            .next("keep the directories as they are; start no node on them")
            .with_data(data))
    }
}

impl fmt::Display for VerifyReport {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "network {}", self.chain_id)?;
        for chain in &self.chains {
            writeln!(
                formatter,
                "{}: height {}, {} working blocks, {} transactions, {} messages, {} certificates",
                chain.chain,
                chain.height,
                chain.working,
                chain.transactions,
                chain.messages,
                chain.certificates
            )?;
            let views = chain.epochs.iter().map(|it| it.view.get());
            let skipped = chain.epochs.iter().map(|it| it.skipped_count);
            writeln!(
                formatter,
                "  views {}, skipped {}, epochs {}",
                views.fold(0, u64::saturating_add),
                skipped.fold(0, u64::saturating_add),
                chain.epochs.len()
            )?;
            for copy in &chain.copies {
                let CopyReport {
                    dir,
                    finalized,
                    state_at,
                } = copy;
                writeln!(formatter, "  {dir}: final {finalized}, state at {state_at}")?;
            }
        }
        for supply in &self.supply {
            writeln!(
                formatter,
                "{}: balances {} + fees {} + claims {} + held {} + waiting {} + in flight {} + \
                 burnt {} = issued {}",
                supply.denom,
                supply.balances,
                supply.fees,
                supply.claims,
                supply.held,
                supply.waiting,
                supply.in_flight,
                supply.burnt,
                supply.issued
            )?;
        }
        for note in &self.notes {
            writeln!(formatter, "note: {note}")?;
        }
        for violation in &self.violations {
            let Violation {
                rule,
                place,
                detail,
            } = violation;
            writeln!(formatter, "VIOLATION {rule} at {place}: {detail}")?;
        }
        if self.is_ok() {
            formatter.write_str("ok")
        } else {
            write!(formatter, "{} violations", self.violation_count)
        }
    }
}

/// Collects what is found; bounded, so that a thoroughly broken directory still gives a report.
#[derive(Default)]
struct Findings {
    violations: Vec<Violation>,
    count: usize,
    notes: Vec<String>,
}

impl Findings {
    fn violation(
        &mut self,
        rule: &'static str,
        place: impl fmt::Display,
        detail: impl Into<String>,
    ) {
        self.count = self.count.saturating_add(1);
        if self.violations.len() < FINDINGS_MAX {
            let (place, detail) = (place.to_string(), detail.into());
            self.violations.push(Violation {
                rule,
                place,
                detail,
            });
        }
    }

    fn note(&mut self, note: impl Into<String>) {
        if self.notes.len() < FINDINGS_MAX {
            self.notes.push(note.into());
        }
    }

    /// A read's value; a failure is a violation of the place's.
    fn read<T, E: std::error::Error>(
        &mut self,
        place: impl fmt::Display,
        result: Result<T, E>,
    ) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(error) => {
                let mut detail = error.to_string();
                let mut source = error.source();
                while let Some(cause) = source {
                    detail = format!("{detail}: {cause}");
                    source = cause.source();
                }
                self.violation("readable", place, detail);
                None
            }
        }
    }
}

/// Verifies directories of stopped nodes.
///
/// # Errors
/// When there is no usable genesis, or no database in any folder. What is wrong with the data is in
/// the report instead.
pub fn run(args: &VerifyArgs) -> Result<VerifyReport, NodeError> {
    let genesis_file = match &args.genesis {
        Some(file) => file.clone(),
        None => layout::find_genesis(&args.dirs)?,
    };
    let genesis = home::read_genesis(&genesis_file)?;
    genesis.check(true)?;
    let mut found = Findings::default();
    let copies = copies::open_all(&layout::find(&args.dirs)?, &genesis, &mut found);
    verify(&genesis, &copies, found)
}

/// Verifies opened copies.
fn verify(
    genesis: &Genesis,
    copies: &[ChainCopy],
    mut found: Findings,
) -> Result<VerifyReport, NodeError> {
    let shared = assemble::shared(genesis)?;
    let mut chains = Vec::new();
    let mut replays: BTreeMap<ChainRef, Replayed> = BTreeMap::new();
    for chain in genesis.chains() {
        let own: Vec<&ChainCopy> = copies.iter().filter(|copy| copy.chain == chain).collect();
        if own.is_empty() {
            found.note(format!("there is no copy of {chain}"));
            continue;
        }
        if let Some(base) = own.iter().map(|copy| copy.base).min()
            && base > Height::ZERO
        {
            found.note(format!(
                "all copies of {chain} were joined by snapshot, the first of them at height {base}; \
                 nothing before it can be replayed, so only their states were read back"
            ));
            for copy in own {
                copy.check_alone(&mut found);
            }
            continue;
        }
        let beacon = replays.get(&ChainRef::Beacon);
        let replayed = replay::replay(genesis, &shared, chain, &own, beacon, &mut found)?;
        chains.push(ChainReport {
            chain,
            height: replayed.height,
            working: replayed.working,
            transactions: replayed.transactions,
            messages: replayed.messages,
            certificates: replayed.certificates,
            epochs: replayed.epochs.clone(),
            copies: own.iter().map(|copy| copy.report()).collect(),
        });
        replays.insert(chain, replayed);
    }
    cut::check_channels(&replays, &mut found);
    let counted = cut::count(genesis, &replays, &mut found);
    let (cut, supply) = counted.unwrap_or_default();
    Ok(VerifyReport {
        chain_id: genesis.chain_id(),
        chains,
        cut,
        supply,
        notes: found.notes,
        violations: found.violations,
        violation_count: found.count,
    })
}
