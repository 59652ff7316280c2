//! Is every vote durable before it is sent? Answered from outside: the system calls of the real
//! binary, as `strace` saw them, joined with its event log.
//!
//! The event log (`SKERRY_TRACE_VOTES`) has a line for each message of consensus that is about to be
//! handed to the network, each line in a write of its own, so its writes give every message a place
//! in the order of system calls. The bytes of the vote log at the end tell which of its writes held
//! the record of a vote. So for every own signature that leaves the process, in a vote, a proposal
//! or a certificate, there must be an fdatasync of the vote log that began after the write of that
//! very vote had returned, and returned 0 before the message was handed on.

use crate::load::Load;
use crate::net::{Network, PATIENCE, SMALL};
use skerry_consensus::log::{LogEntry, VoteRecord};
use skerry_types::certificate::Certificate;
use skerry_types::codec;
use skerry_types::consensus::ConsensusMessage;
use skerry_types::ids::{ChainRef, MemberIndex, ValidatorId};
use skerry_types::vote::Statement;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Members of each committee of the network.
const MEMBERS: usize = 4;
/// Largest message that is decoded.
const MESSAGE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// One system call that matters, as it began or returned.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Call {
    /// So many bytes were appended to the vote log.
    Wrote(u64),
    SyncBegan {
        thread: u32,
    },
    SyncReturned {
        thread: u32,
    },
    /// A line of the event log is being written; lines are numbered from 0.
    Line(usize),
    /// Bytes go to a socket.
    Stream,
}

/// A message that was handed to the network, with the own statements whose signatures are in it.
struct Sent {
    line: usize,
    chain: ChainRef,
    statements: Vec<Statement>,
}

/// What the vote log holds: the offset behind each own vote's record.
type Recorded = BTreeMap<(ChainRef, Statement), u64>;

/// Goes through the calls in order; counts the signatures that were checked.
///
/// # Errors
/// Names the first signature that left before it was durable.
fn check(calls: &[Call], start: u64, recorded: &Recorded, sent: &[Sent]) -> Result<usize, String> {
    let sent: BTreeMap<usize, &Sent> = sent.iter().map(|sent| (sent.line, sent)).collect();
    let (mut written, mut durable) = (start, start);
    let mut syncing: BTreeMap<u32, u64> = BTreeMap::new();
    let mut checked = 0;
    for call in calls {
        match call {
            Call::Wrote(bytes) => written += bytes,
            Call::SyncBegan { thread } => {
                syncing.insert(*thread, written);
            }
            Call::SyncReturned { thread } => {
                durable = durable.max(syncing.remove(thread).unwrap_or(durable));
            }
            Call::Line(line) => {
                let Some(sent) = sent.get(line) else { continue };
                for statement in &sent.statements {
                    let end = recorded.get(&(sent.chain, *statement)).ok_or_else(|| {
                        format!(
                            "line {line}: {statement:?} of {} was never recorded",
                            sent.chain
                        )
                    })?;
                    if *end > durable {
                        return Err(format!(
                            "line {line}: {statement:?} of {} ends at byte {end}, only {durable} \
                             are durable",
                            sent.chain
                        ));
                    }
                    checked += 1;
                }
            }
            Call::Stream => {}
        }
    }
    Ok(checked)
}

/// Reads what `strace -f -y` wrote.
fn calls_of(text: &str, vote_log: &str, events: &str) -> Vec<Call> {
    let mut calls = Vec::new();
    let mut lines = 0;
    // Calls that another thread's call interrupted, by thread: the file of the call.
    let mut unfinished: BTreeMap<u32, (String, String)> = BTreeMap::new();
    for line in text.lines() {
        let Some((thread, rest)) = line.split_once(' ') else {
            continue;
        };
        let (Ok(thread), rest) = (thread.parse::<u32>(), rest.trim_start()) else {
            continue;
        };
        let result = rest.rsplit_once(" = ").and_then(|(_, result)| {
            result
                .split(' ')
                .next()
                .and_then(|number| number.parse::<i64>().ok())
        });
        let (name, file, begins, returns) = match rest.strip_prefix("<... ") {
            Some(resumed) => {
                let name = resumed.split(' ').next().unwrap_or_default();
                let Some((begun, file)) = unfinished.remove(&thread) else {
                    continue;
                };
                assert_eq!(begun, name, "strace mixes up threads: {line}");
                (begun, file, false, true)
            }
            None => {
                let Some((name, arguments)) = rest.split_once('(') else {
                    continue;
                };
                let file = arguments
                    .split_once('<')
                    .and_then(|(_, it)| it.split_once('>'));
                let Some((file, _)) = file else { continue };
                let waits = rest.ends_with("<unfinished ...>");
                if waits {
                    unfinished.insert(thread, (name.to_owned(), file.to_owned()));
                }
                (name.to_owned(), file.to_owned(), true, !waits)
            }
        };
        let is_write = matches!(name.as_str(), "write" | "writev" | "pwrite64");
        if file == vote_log && matches!(name.as_str(), "fdatasync" | "fsync") {
            if begins {
                calls.push(Call::SyncBegan { thread });
            }
            if returns && result == Some(0) {
                calls.push(Call::SyncReturned { thread });
            }
        } else if file == vote_log && is_write && returns {
            let bytes = result
                .and_then(|bytes| u64::try_from(bytes).ok())
                .unwrap_or(0);
            calls.push(Call::Wrote(bytes));
        } else if file == events && is_write && begins {
            calls.push(Call::Line(lines));
            lines += 1;
        } else if begins
            && (name.starts_with("send") || file.contains("TCP") || file.contains("socket"))
        {
            calls.push(Call::Stream);
        }
    }
    calls
}

/// Offsets behind the records of own votes. The form of the file is `storage/src/votelog.rs`'s.
fn recorded_in(bytes: &[u8]) -> Recorded {
    const FILE_HEADER: usize = 20;
    const RECORD_HEADER: usize = 24;
    const RECORD_CHECK: usize = 8;
    let mut recorded = Recorded::new();
    let mut at = FILE_HEADER;
    while let Some(length) = bytes.get(at..).and_then(|rest| rest.first_chunk::<4>()) {
        let length = usize::try_from(u32::from_le_bytes(*length)).expect("a length fits");
        let payload = bytes.get(at + RECORD_HEADER..at + RECORD_HEADER + length);
        let Some(payload) = payload else { break };
        at += RECORD_HEADER + length + RECORD_CHECK;
        let record = VoteRecord::decode(payload).expect("a record of the vote log decodes");
        if let LogEntry::Vote(vote) = record.entry {
            recorded.insert(
                (record.chain, vote.statement),
                u64::try_from(at).expect("it fits"),
            );
        }
    }
    recorded
}

/// The messages of the event log with the statements in them that `seats` signed.
fn sent_in(text: &str, seats: &BTreeMap<String, (ChainRef, MemberIndex)>) -> Vec<Sent> {
    let mut all = Vec::new();
    for (line, text) in text.lines().enumerate() {
        let mut words = text.split(' ');
        if words.next() != Some("send") {
            continue;
        }
        let (chain, _after, _kind, payload) =
            (words.next(), words.next(), words.next(), words.next());
        let seat = chain.and_then(|chain| seats.get(chain));
        let (chain, me) = *seat.unwrap_or_else(|| panic!("no seat on the chain of line {line}"));
        let payload = hex::decode(payload.expect("a payload")).expect("a payload is hexadecimal");
        let message: ConsensusMessage =
            codec::decode(&payload, MESSAGE_BYTES_MAX).expect("a message decodes");
        let mine = |certificate: &Certificate| {
            let signers = certificate
                .signers
                .members(MEMBERS)
                .expect("a bitmap of the committee");
            signers.contains(&me).then_some(certificate.statement)
        };
        let statements: Vec<Statement> = match message {
            ConsensusMessage::Vote(vote) => (vote.signer == me)
                .then_some(vote.statement)
                .into_iter()
                .collect(),
            ConsensusMessage::Certificate(certificate) => mine(&certificate).into_iter().collect(),
            ConsensusMessage::Proposal(proposal) => {
                let (view, digest) = (proposal.view, proposal.header.digest());
                let held = proposal
                    .parent
                    .iter()
                    .chain(&proposal.finalization)
                    .filter_map(mine);
                std::iter::once(Statement::Notarize { view, digest })
                    .chain(held)
                    .collect()
            }
            ConsensusMessage::Reply(reply) => reply.certificates.iter().filter_map(mine).collect(),
            ConsensusMessage::Request(_) => Vec::new(),
        };
        all.push(Sent {
            line,
            chain,
            statements,
        });
    }
    all
}

/// Whether processes may be traced here. Some containers forbid it; `SKERRY_REQUIRE_TRACE=1` makes
/// that a failure.
fn may_trace() -> bool {
    match Command::new("strace")
        .args(["-o", "/dev/null", "true"])
        .stdin(Stdio::null())
        .output()
    {
        Ok(output) if output.status.success() => true,
        Ok(output) => {
            let why = String::from_utf8_lossy(&output.stderr).into_owned();
            let denied = why.contains("not permitted") || why.contains("PTRACE");
            assert!(denied, "strace fails: {why}");
            let is_required = std::env::var("SKERRY_REQUIRE_TRACE").is_ok_and(|it| it == "1");
            assert!(
                !is_required,
                "processes may not be traced here, and they must be: {why}"
            );
            eprintln!("SKIPPED: processes may not be traced here: {why}");
            false
        }
        Err(error) => panic!("strace is not installed (`make setup` does it): {error}"),
    }
}

fn read_whole(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn no_vote_is_sent_before_it_is_durable() {
    if !may_trace() {
        return;
    }
    let mut network = Network::new("trace", SMALL);
    let (calls_file, events) = (
        network.place.dir.join("strace.txt"),
        network.place.dir.join("events.txt"),
    );
    let node = network.nodes.first_mut().expect("v0");
    let vote_log = node.home.join("keys/vote.log");
    let start = std::fs::metadata(&vote_log)
        .expect("an empty vote log")
        .len();
    let strace = "strace -D -f --seccomp-bpf -y -s 0 -e signal=none -e trace=write,writev,pwrite64,\
                  fsync,fdatasync,sendto,sendmsg,sendmmsg";
    node.prefix = strace.split_whitespace().map(str::to_owned).collect();
    node.prefix
        .extend(["-o".to_owned(), calls_file.display().to_string()]);
    node.prefix.extend([
        "env".to_owned(),
        format!("SKERRY_TRACE_VOTES={}", events.display()),
    ]);
    network.start_all();
    network.goes_on(2);
    let load = Load::start(&network);
    load.goes_on(12);
    load.finish();
    // Without a member the others need timeouts, nullifications and repeated votes.
    network.nodes.get_mut(1).expect("v1").kill();
    network.goes_on(4);
    network.nodes.get_mut(1).expect("v1").start();
    network.goes_on(2);
    network.stop_all();
    // The tracer outlives the process by a moment.
    let ended = Instant::now();
    while !read_whole(&calls_file)
        .lines()
        .last()
        .is_some_and(|line| line.contains("+++ exited"))
    {
        assert!(ended.elapsed() < PATIENCE, "strace does not end");
        std::thread::sleep(Duration::from_millis(100));
    }

    let genesis = &network.genesis;
    let seats: BTreeMap<String, (ChainRef, MemberIndex)> = genesis
        .chains()
        .into_iter()
        .filter_map(|chain| {
            let me = genesis.committee(chain)?.index_of(ValidatorId::new(0))?;
            Some((chain.to_string(), (chain, me)))
        })
        .collect();
    let recorded = recorded_in(&std::fs::read(&vote_log).expect("the vote log"));
    let sent = sent_in(&read_whole(&events), &seats);
    let (log, event) = (vote_log.display().to_string(), events.display().to_string());
    let calls = calls_of(&read_whole(&calls_file), &log, &event);

    // The parts fit together: every line of the event log and every byte of the vote log was seen.
    let count = |wanted: fn(&Call) -> bool| calls.iter().filter(|call| wanted(call)).count();
    let lines = count(|call| matches!(call, Call::Line(_)));
    assert_eq!(
        lines,
        read_whole(&events).lines().count(),
        "lines of the event log"
    );
    let bytes: u64 = calls
        .iter()
        .map(|it| if let Call::Wrote(n) = it { *n } else { 0 })
        .sum();
    assert_eq!(
        start + bytes,
        std::fs::metadata(&vote_log).expect("the vote log").len()
    );
    let syncs = count(|call| matches!(call, Call::SyncReturned { .. }));
    let streams = count(|call| matches!(call, Call::Stream));
    assert!(
        syncs > 0 && streams > 0,
        "{syncs} syncs, {streams} writes to sockets"
    );

    let checked = check(&calls, start, &recorded, &sent).expect("durable before sent");
    let kinds: BTreeSet<&str> = sent
        .iter()
        .flat_map(|sent| &sent.statements)
        .map(|statement| match statement {
            Statement::Notarize { .. } => "notarize",
            Statement::Nullify { .. } => "nullify",
            Statement::Finalize { .. } => "finalize",
        })
        .collect();
    assert!(
        kinds.contains("notarize") && kinds.contains("finalize"),
        "{kinds:?}"
    );
    println!(
        "{checked} own signatures ({kinds:?}) in {} messages, each durable before it was sent; \
         {} votes recorded, {syncs} syncs of the vote log, {streams} writes to sockets",
        sent.len(),
        recorded.len()
    );
    doctored_logs_are_refused(&calls, start, &recorded, &sent);
}

/// The check can fail: without the syncs, with syncs that returned too late, and with a vote
/// that the log does not hold.
fn doctored_logs_are_refused(calls: &[Call], start: u64, recorded: &Recorded, sent: &[Sent]) {
    let is_sync = |call: &Call| matches!(call, Call::SyncReturned { .. });
    let without: Vec<Call> = calls
        .iter()
        .filter(|call| !is_sync(call))
        .cloned()
        .collect();
    assert!(
        check(&without, start, recorded, sent).is_err(),
        "without syncs"
    );

    let speaks: BTreeSet<usize> = sent
        .iter()
        .filter(|it| !it.statements.is_empty())
        .map(|it| it.line)
        .collect();
    let first = calls
        .iter()
        .position(|it| matches!(it, Call::Line(n) if speaks.contains(n)));
    let first = first.expect("something was sent");
    // Every sync that returned before the first send returns right after it: whichever of them
    // covered that vote, it now comes too late.
    let (before, after) = calls.split_at(first + 1);
    let (syncs, others): (Vec<Call>, Vec<Call>) = before.iter().cloned().partition(is_sync);
    assert!(!syncs.is_empty(), "a sync before the first send");
    let late: Vec<Call> = others
        .into_iter()
        .chain(syncs)
        .chain(after.iter().cloned())
        .collect();
    assert!(
        check(&late, start, recorded, sent).is_err(),
        "syncs that returned too late"
    );

    let spoken = sent
        .iter()
        .find_map(|it| it.statements.first().map(|s| (it.chain, *s)));
    let mut forgotten = recorded.clone();
    forgotten.remove(&spoken.expect("something was sent"));
    assert!(
        check(calls, start, &forgotten, sent).is_err(),
        "a vote that was never recorded"
    );
}
