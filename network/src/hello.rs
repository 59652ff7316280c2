//! The control substream: hello and verdict, then pings and lists of peers.
//!
//! The dialer of a connection opens it; from then on both sides do the same: write their hello,
//! read the other's, judge it, write the verdict, read the other's. A connection serves frames
//! once both verdicts are good. A refusing side leaves its verdict on the wire before it closes, so
//! that both operators read why.
//!
//! Afterwards each side sends a ping every few seconds, which keeps the connection's silence below
//! its limit, and a list of connected peers when it changed, at most once a second. Messages are
//! borsh behind a four-byte length, checked against `Limits::control_bytes_max` before reading.

use crate::config::{CHAINS_MAX, HelloProof};
use crate::error::{RefusalCode, RefusedReason};
use crate::key::PeerKey;
use crate::streams::LastSeen;
use borsh::{BorshDeserialize, BorshSerialize};
use futures::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use libp2p::swarm::{ConnectionId, Stream};
use skerry_types::ids::{ChainRef, Digest};
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until, timeout};

/// How long a refusing side waits for the other to read the verdict.
const LINGER: Duration = Duration::from_secs(1);
/// Least time between two lists of peers to one peer.
const LIST_INTERVAL: Duration = Duration::from_secs(1);
/// Window in which control messages are counted.
const COUNT_WINDOW: Duration = Duration::from_secs(10);

/// One message on the control substream.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) enum ControlMessage {
    /// Who I am.
    Hello(Box<Hello>),
    /// Whether I serve you.
    Verdict(Result<(), RefusalCode>),
    /// Whom I am connected to.
    Peers(Vec<PeerRecord>),
    /// I am alive.
    Ping,
}

/// Who a node is.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) struct Hello {
    pub(crate) protocol_version: u32,
    pub(crate) chain_id: [u8; 32],
    /// Differs between two runs of a node, so that a restart is told from a second connection.
    pub(crate) session: u64,
    pub(crate) chains: Vec<ChainRef>,
    pub(crate) validator: Option<([u8; 48], [u8; 96])>,
    pub(crate) addresses: Vec<String>,
}

/// Where a peer can be dialled.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) struct PeerRecord {
    pub(crate) peer: [u8; 32],
    pub(crate) addresses: Vec<String>,
}

/// A hello that passed all checks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CheckedHello {
    pub(crate) session: u64,
    pub(crate) chains: Vec<ChainRef>,
    pub(crate) validator: Option<[u8; 48]>,
    pub(crate) addresses: Vec<String>,
}

/// What a control task tells the service while it runs.
#[derive(Debug)]
pub(crate) enum Notice {
    /// Both verdicts are good.
    Ready {
        connection: ConnectionId,
        hello: CheckedHello,
    },
    /// The peer told its peers.
    Told {
        connection: ConnectionId,
        records: Vec<PeerRecord>,
    },
}

/// How a control task ended.
#[derive(Debug)]
pub(crate) enum ControlEnd {
    /// The connection or the service closed.
    Closed,
    /// One side refused the other.
    Refused(RefusedReason),
    /// The peer broke the protocol after its hello.
    Invalid,
}

impl From<io::Error> for ControlEnd {
    fn from(_: io::Error) -> Self {
        Self::Closed
    }
}

/// What a control task needs beside its stream.
#[derive(Debug)]
pub(crate) struct ControlContext {
    pub(crate) connection: ConnectionId,
    pub(crate) peer: PeerKey,
    pub(crate) hello: Hello,
    pub(crate) bytes_max: usize,
    pub(crate) messages_max: u32,
    pub(crate) addresses_max: usize,
    pub(crate) records_max: usize,
    pub(crate) ping_interval: Duration,
    pub(crate) last_seen: LastSeen,
    pub(crate) told: watch::Receiver<Arc<Vec<PeerRecord>>>,
    pub(crate) notices: mpsc::Sender<Notice>,
}

/// The task `control`: one per connection, owned by the service's task set. When it ends, the
/// service closes the connection; when the connection closes, it ends.
pub(crate) async fn control(mut stream: Stream, context: ControlContext) -> ControlEnd {
    let hello = match greet(&mut stream, &context).await {
        Ok(hello) => hello,
        Err(end) => return end,
    };
    let notice = Notice::Ready {
        connection: context.connection,
        hello,
    };
    if context.notices.send(notice).await.is_err() {
        return ControlEnd::Closed;
    }
    let (mut reader, mut writer) = stream.split();
    tokio::select! {
        end = listen(&mut reader, &context) => end,
        end = tell(&mut writer, &context) => end,
    }
}

async fn greet(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    context: &ControlContext,
) -> Result<CheckedHello, ControlEnd> {
    let bytes_max = context.bytes_max;
    write_message(
        stream,
        &ControlMessage::Hello(Box::new(context.hello.clone())),
    )
    .await?;
    let judged = match read_message(stream, bytes_max).await {
        Ok(ControlMessage::Hello(theirs)) => judge(*theirs, context),
        Ok(_) => Err(RefusedReason::BadHello {
            what: "another message came first",
        }),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => Err(RefusedReason::BadHello {
            what: "its bytes do not decode",
        }),
        Err(error) => return Err(error.into()),
    };
    context.last_seen.touch();
    let verdict = judged.as_ref().map(|_| ()).map_err(RefusedReason::code);
    write_message(stream, &ControlMessage::Verdict(verdict)).await?;
    let theirs = match judged {
        Ok(hello) => match read_message(stream, bytes_max).await? {
            ControlMessage::Verdict(Ok(())) => return Ok(hello),
            ControlMessage::Verdict(Err(code)) => RefusedReason::ByPeer { code },
            _ => RefusedReason::BadHello {
                what: "no verdict followed",
            },
        },
        Err(reason) => {
            linger(stream, bytes_max).await;
            reason
        }
    };
    Err(ControlEnd::Refused(theirs))
}

/// Lets the other side read our refusal: until it refuses as well, closes, or time is up.
async fn linger(stream: &mut (impl AsyncRead + Unpin), bytes_max: usize) {
    let read = async {
        while let Ok(message) = read_message(stream, bytes_max).await {
            if matches!(message, ControlMessage::Verdict(Err(_))) {
                break;
            }
        }
    };
    let _ = timeout(LINGER, read).await;
}

/// Checks a hello, the cheap and the most telling checks first.
fn judge(theirs: Hello, context: &ControlContext) -> Result<CheckedHello, RefusedReason> {
    let ours = &context.hello;
    if theirs.chain_id != ours.chain_id {
        return Err(RefusedReason::OtherNetwork {
            ours: Digest::new(ours.chain_id),
            theirs: Digest::new(theirs.chain_id),
        });
    }
    if theirs.protocol_version != ours.protocol_version {
        return Err(RefusedReason::OtherVersion {
            ours: ours.protocol_version,
            theirs: theirs.protocol_version,
        });
    }
    if theirs.chains.len() > CHAINS_MAX {
        return Err(RefusedReason::BadHello {
            what: "too many chains",
        });
    }
    if theirs.addresses.len() > context.addresses_max {
        return Err(RefusedReason::BadHello {
            what: "too many addresses",
        });
    }
    if let Some((public_key, signature)) = theirs.validator {
        let proof = HelloProof {
            public_key,
            signature,
        };
        if !proof.verify(&Digest::new(ours.chain_id), &context.peer) {
            return Err(RefusedReason::BadValidatorProof);
        }
    }
    Ok(CheckedHello {
        session: theirs.session,
        chains: theirs.chains,
        validator: theirs.validator.map(|(public_key, _)| public_key),
        addresses: theirs.addresses,
    })
}

/// Reads pings and lists until the substream ends or the peer breaks a rule.
async fn listen(reader: &mut (impl AsyncRead + Unpin), context: &ControlContext) -> ControlEnd {
    let mut window = Instant::now();
    let mut count: u32 = 0;
    loop {
        let message = match read_message(reader, context.bytes_max).await {
            Ok(message) => message,
            Err(error) if error.kind() == io::ErrorKind::InvalidData => return ControlEnd::Invalid,
            Err(_) => return ControlEnd::Closed,
        };
        context.last_seen.touch();
        if window.elapsed() > COUNT_WINDOW {
            window = Instant::now();
            count = 0;
        }
        count = count.saturating_add(1);
        if count > context.messages_max {
            return ControlEnd::Invalid;
        }
        match message {
            ControlMessage::Ping => {}
            ControlMessage::Peers(records) if records.len() <= context.records_max => {
                let notice = Notice::Told {
                    connection: context.connection,
                    records,
                };
                if context.notices.send(notice).await.is_err() {
                    return ControlEnd::Closed;
                }
            }
            ControlMessage::Peers(_) | ControlMessage::Hello(_) | ControlMessage::Verdict(_) => {
                return ControlEnd::Invalid;
            }
        }
    }
}

/// Writes pings and changed lists until the substream fails.
async fn tell(writer: &mut (impl AsyncWrite + Unpin), context: &ControlContext) -> ControlEnd {
    let mut told = context.told.clone();
    let mut list_is_due = !told.borrow_and_update().is_empty();
    let mut list_at = Instant::now();
    let mut ping_at = after(context.ping_interval);
    loop {
        let message = tokio::select! {
            () = sleep_until(list_at), if list_is_due => {
                list_is_due = false;
                list_at = after(LIST_INTERVAL);
                ControlMessage::Peers(told.borrow_and_update().to_vec())
            }
            () = sleep_until(ping_at) => {
                ping_at = after(context.ping_interval);
                ControlMessage::Ping
            }
            changed = told.changed(), if !list_is_due => {
                if changed.is_err() {
                    return ControlEnd::Closed;
                }
                list_is_due = true;
                continue;
            }
        };
        if write_message(writer, &message).await.is_err() {
            return ControlEnd::Closed;
        }
    }
}

fn after(wait: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(wait).unwrap_or(now)
}

async fn write_message(
    writer: &mut (impl AsyncWrite + Unpin),
    message: &ControlMessage,
) -> io::Result<()> {
    let body = borsh::to_vec(message)?;
    let length = u32::try_from(body.len()).map_err(io::Error::other)?;
    let mut bytes = length.to_le_bytes().to_vec();
    bytes.extend_from_slice(&body);
    writer.write_all(&bytes).await?;
    writer.flush().await
}

/// Reads one message.
///
/// # Errors
/// `InvalidData` when the length or the form is wrong, else the stream's error.
async fn read_message(
    reader: &mut (impl AsyncRead + Unpin),
    bytes_max: usize,
) -> io::Result<ControlMessage> {
    let invalid = |what| io::Error::new(io::ErrorKind::InvalidData, what);
    let mut length = [0; 4];
    reader.read_exact(&mut length).await?;
    let length = usize::try_from(u32::from_le_bytes(length)).map_err(io::Error::other)?;
    if length > bytes_max {
        return Err(invalid("a control message exceeds its limit"));
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).await?;
    borsh::from_slice(&body).map_err(|_| invalid("a control message does not decode"))
}

#[cfg(test)]
mod tests;
