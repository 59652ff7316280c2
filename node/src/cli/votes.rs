//! `skerry keys votes …`: a vote key's signing history, shown, moved to another machine, or declared
//! lost.
//!
//! All of it needs the log for itself: while a node runs on it, the lock refuses.

use super::args::{VoteLogFiles, VotesCommand};
use super::output::{CliError, Exit, Output};
use crate::error::NodeError;
use crate::home::{self, ValidatorIdentity};
use crate::runner::now_ms;
use crate::votes::interchange::{
    self, BYTES_MAX, Elsewhere, Import, ImportError, Interchange, Watermark,
};
use crate::votes::key::{KeyRecords, record, time_of_loss};
use crate::votes::{create_log, open_log};
use serde_json::{Value, json};
use skerry_consensus::log::{LogEntry, VoteRecord};
use skerry_storage::{VoteLog, VoteLogError};
use skerry_types::ids::{ChainRef, Epoch, TimeMs, View};
use std::io::Read as _;
use std::path::{Path, PathBuf};

pub(super) fn run(command: VotesCommand) -> Result<Output, CliError> {
    match command {
        VotesCommand::Show { files } => show(&files),
        VotesCommand::Export { files, out } => export(&files, &out),
        VotesCommand::Import {
            files,
            from,
            never_ran_elsewhere,
        } => {
            let elsewhere = if never_ran_elsewhere {
                Elsewhere::NeverRan
            } else {
                Elsewhere::MayHaveRun
            };
            import(&files, &from, elsewhere)
        }
        VotesCommand::Lost { files, yes } => lost(&files, yes),
    }
}

/// The key and its log.
struct Place {
    identity: ValidatorIdentity,
    path: PathBuf,
}

impl Place {
    fn of(files: &VoteLogFiles) -> Result<Self, CliError> {
        let beside = || files.key.with_file_name("vote.log");
        Ok(Self {
            identity: home::read_validator_identity(&files.key)?,
            path: files.log.clone().unwrap_or_else(beside),
        })
    }

    /// Opens the log, for itself alone.
    fn open(&self) -> Result<(VoteLog, Vec<VoteRecord>), NodeError> {
        open_log(&self.path, &self.identity)
    }

    fn create(&self, records: &[VoteRecord]) -> Result<(), NodeError> {
        create_log(&self.path, &self.identity, records)
    }

    fn data(&self) -> Value {
        json!({
            "vote_log": self.path,
            "chain_id": self.identity.chain_id,
            "vote_key": self.identity.public_key,
        })
    }
}

/// Adds records to the log, all or none.
fn extend(mut log: VoteLog, records: &[VoteRecord]) -> Result<(), NodeError> {
    let payloads: Vec<Vec<u8>> = records.iter().map(VoteRecord::encode).collect();
    Ok(log.extend(&payloads)?)
}

fn of_key(entry: LogEntry) -> VoteRecord {
    record(ChainRef::Beacon, entry)
}

/// Adds fields to an object.
fn with(mut data: Value, more: Value) -> Value {
    if let (Value::Object(data), Value::Object(more)) = (&mut data, more) {
        data.extend(more);
    }
    data
}

fn show(files: &VoteLogFiles) -> Result<Output, CliError> {
    let place = Place::of(files)?;
    let (_, records) = place.open()?;
    let (key, marks) = (KeyRecords::of(&records), interchange::watermarks(&records));
    let (state, text) = match (key.exported_at, key.lost_at) {
        (Some(_), _) => ("exported", "exported: the key votes elsewhere"),
        (None, Some(_)) => ("lost", "was lost or incomplete; see the epochs below"),
        (None, None) => ("whole", "whole"),
    };
    let mut text = format!("history: {text}\n");
    let mut chains = Vec::new();
    let names = marks.keys().chain(key.mute.keys());
    let names: std::collections::BTreeSet<ChainRef> = names.copied().collect();
    for chain in names {
        let mark = marks.get(&chain).copied();
        let mute = key.mute.get(&chain).map(|mute| mute.until);
        text.push_str(&line(chain, mark, mute.map(Epoch::get)));
        let mark = mark.unwrap_or_default();
        chains.push(json!({
            "chain": chain,
            "epoch": mark.epoch.get(),
            "view": mark.view.get(),
            "voted_view": mark.voted.map(View::get),
            "finalized_view": mark.finalized.map(View::get),
            "mute_until_epoch": mute.map(Epoch::get),
        }));
    }
    if chains.is_empty() {
        text.push_str("the key has signed nothing that this log knows of\n");
    }
    let data = json!({
        "history": state,
        "lost_at_ms": key.lost_at.map(TimeMs::get),
        "exported_at_ms": key.exported_at.map(TimeMs::get),
        "exports": key.exports,
        "chains": chains,
    });
    Ok(Output::new(with(place.data(), data), text.trim_end()))
}

fn line(chain: ChainRef, mark: Option<Watermark>, mute: Option<u64>) -> String {
    let view = |view: Option<View>| view.map_or_else(|| "none".to_owned(), |it| it.to_string());
    let mut text = match mark {
        None => format!("{chain}: no vote"),
        Some(mark) => format!(
            "{chain}: epoch {}, nothing in view {} or before; newest vote {}, newest finalize {}",
            mark.epoch,
            mark.view,
            view(mark.voted),
            view(mark.finalized)
        ),
    };
    if let Some(epoch) = mute {
        text.push_str(&format!(
            "; mute until a block of epoch {epoch} or later is final"
        ));
    }
    text.push('\n');
    text
}

fn export(files: &VoteLogFiles, out: &Path) -> Result<Output, CliError> {
    let place = Place::of(files)?;
    if out.exists() {
        let message = format!("{} exists already", out.display());
        return Err(CliError::new(Exit::Config, "FILE", message).next("choose another --out"));
    }
    let (log, records) = place.open()?;
    let (now, identity) = (now_ms(), &place.identity);
    let interchange = interchange::export(&records, identity.chain_id, identity.public_key, now);
    let text = serde_json::to_string_pretty(&interchange).map_err(CliError::unexpected)?;
    // The file gets its name once the log is closed for good, so that nobody has an export of a log
    // that went on.
    let unfinished = home::stage_file(out, &text)?;
    let number = interchange.export_number;
    let exported = of_key(LogEntry::Exported { at: now, number });
    extend(log, &[exported])?;
    unfinished.publish()?;
    let key = files.key.display();
    let text = format!(
        "{} chains exported to {}\nno node starts on {} any more; on the other machine: skerry keys \
         votes import --key {key} --in {}",
        interchange.chains.len(),
        out.display(),
        place.path.display(),
        out.display()
    );
    let data = json!({"file": out, "export_number": number, "chains": interchange.chains});
    Ok(Output::new(with(place.data(), data), text))
}

fn read(path: &Path) -> Result<Interchange, CliError> {
    let bad = |why: String| {
        let message = format!("{} is no exported vote log", path.display());
        CliError::new(Exit::Config, "FILE", message)
            .why(why)
            .next("give the file that skerry keys votes export wrote")
    };
    let file = std::fs::File::open(path).map_err(|error| bad(error.to_string()))?;
    let mut text = String::new();
    let limited = file
        .take(BYTES_MAX.saturating_add(1))
        .read_to_string(&mut text);
    let length = limited.map_err(|error| bad(error.to_string()))?;
    if u64::try_from(length).unwrap_or(u64::MAX) > BYTES_MAX {
        return Err(bad(format!("it is longer than {BYTES_MAX} bytes")));
    }
    serde_json::from_str(&text).map_err(|error| bad(error.to_string()))
}

/// Why a file is not taken up, and what to do.
fn not_taken(from: &Path, error: &ImportError) -> CliError {
    let message = format!("{} is not taken up; nothing was changed", from.display());
    let next = match error {
        ImportError::Older { .. } => {
            "import what the machine exported where the key ran last; if that is really gone: skerry \
             keys votes lost --key FILE"
        }
        ImportError::Same { .. } => {
            "import what the machine exports where the key runs; only if it never ran elsewhere: the \
             same with --never-ran-elsewhere"
        }
        _ => "import what was exported for this very key on this network",
    };
    CliError::new(Exit::Safety, "VOTE_LOG", message)
        .why(error.to_string())
        .next(next)
}

fn import(files: &VoteLogFiles, from: &Path, elsewhere: Elsewhere) -> Result<Output, CliError> {
    let place = Place::of(files)?;
    let interchange = read(from)?;
    let identity = &place.identity;
    let refused = |error| not_taken(from, &error);
    let checked = interchange.check(&identity.chain_id, &identity.public_key);
    checked.map_err(refused)?;
    let now = now_ms();
    let taken_into = |records: &[VoteRecord]| interchange.import_into(records, now, elsewhere);
    let import = match place.open() {
        Ok((log, records)) => {
            let import = taken_into(&records).map_err(refused)?;
            extend(log, &import.records)?;
            import
        }
        // A key that came without its log: what was exported is its history.
        Err(NodeError::VoteLog(VoteLogError::Absent { .. })) => {
            let import = taken_into(&[]).map_err(refused)?;
            place.create(&import.records)?;
            import
        }
        Err(error) => return Err(error.into()),
    };
    let (text, raised) = describe(&import);
    let data = json!({"file": from, "raised": raised});
    let warning = "an export is used once, on one machine: where two run the key, it gets slashed";
    Ok(Output::new(with(place.data(), data), text).warn(warning))
}

fn describe(import: &Import) -> (String, Vec<Value>) {
    let mut lines = Vec::new();
    let mut raised = Vec::new();
    for raise in &import.raised {
        let (epoch, view) = raise.to;
        let before = raise.from.map_or_else(
            || "nothing".to_owned(),
            |(epoch, view)| format!("epoch {epoch}, view {view}"),
        );
        lines.push(format!(
            "{}: raised from {before} to epoch {epoch}, view {view}",
            raise.chain
        ));
        raised.push(json!({
            "chain": raise.chain,
            "from": raise.from.map(|(epoch, view)| json!([epoch.get(), view.get()])),
            "to": [epoch.get(), view.get()],
        }));
    }
    if lines.is_empty() {
        lines.push("nothing was raised: the log knew all of it".to_owned());
    }
    (lines.join("\n"), raised)
}

/// Said before and after a log is declared lost.
const CONSEQUENCE: &str = "the key signs nothing on any chain until the first final block of the \
     next epoch but one, and goes on by itself then; where epochs never end, it never signs again";

fn lost(files: &VoteLogFiles, yes: bool) -> Result<Output, CliError> {
    let place = Place::of(files)?;
    if !yes {
        let key = files.key.display();
        let message = "this declares that the signing history of the key is not whole";
        return Err(CliError::new(Exit::Safety, "CONSENT", message)
            .why(CONSEQUENCE)
            .next(format!(
                "if no other machine runs the key and the newest log is really gone: skerry keys \
                 votes lost --key {key} --yes"
            )));
    }
    let now = now_ms();
    let mut at = now;
    let lost = |at| of_key(LogEntry::Lost { at });
    let mut aside = None;
    match place.open() {
        Ok((log, records)) => {
            // Also news where the clock was ahead when an earlier loss was noted.
            let key = KeyRecords::of(&records);
            at = time_of_loss(now, key.lost_at);
            // What is there still counts, and so does that it is not all.
            let number = key.exports;
            let here = of_key(LogEntry::Imported { at: now, number });
            extend(log, &[lost(at), here])?;
        }
        Err(NodeError::VoteLog(VoteLogError::Absent { .. })) => place.create(&[lost(at)])?,
        // Whatever is wrong with what lies there: it is kept, and nothing of it is believed.
        Err(
            NodeError::VoteLog(VoteLogError::Corrupt { .. } | VoteLogError::Form { .. })
            | NodeError::DamagedLog { .. },
        ) => {
            aside = Some(set_aside(&place.path, now)?);
            place.create(&[lost(at)])?;
        }
        Err(error) => return Err(error.into()),
    }
    let mut text = format!(
        "{} says that the history is lost; {CONSEQUENCE}",
        place.path.display()
    );
    if let Some(aside) = &aside {
        text.push_str(&format!("\nthe damaged log is kept as {}", aside.display()));
    }
    let data = json!({"lost_at_ms": at.get(), "damaged_log": aside});
    Ok(Output::new(with(place.data(), data), text))
}

/// Renames a damaged log, so that it can still be looked at.
fn set_aside(path: &Path, now: TimeMs) -> Result<PathBuf, NodeError> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".damaged-{now}"));
    let aside = path.with_file_name(name);
    let renamed = std::fs::rename(path, &aside);
    renamed.map_err(|source| NodeError::File {
        action: "cannot rename",
        path: path.to_owned(),
        source,
    })?;
    Ok(aside)
}

#[cfg(test)]
mod tests;
