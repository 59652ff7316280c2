//! The trace of a run: a hash over all delivered events, with their times, places and contents.
//!
//! Equal seeds give equal hashes; where they do not, something in a run does not come from its
//! seed. Printed, the trace is what one reads to understand a violation.

/// Hashes events as they are delivered.
#[derive(Debug, Default)]
pub struct Trace {
    hasher: blake3::Hasher,
    events: u64,
    prints: bool,
}

impl Trace {
    /// A trace that also prints each event to the error output.
    pub fn printing(prints: bool) -> Self {
        Self {
            prints,
            ..Self::default()
        }
    }

    /// Takes one event: when, where, what, and the bytes that it carries.
    pub fn event(&mut self, now: u64, node: usize, chain: &str, what: &str, payload: &[u8]) {
        self.events = self.events.saturating_add(1);
        let place = u64::try_from(node).unwrap_or(u64::MAX);
        self.hasher
            .update(&now.to_le_bytes())
            .update(&place.to_le_bytes())
            .update(chain.as_bytes())
            .update(&[0])
            .update(what.as_bytes())
            .update(&[0])
            .update(
                &u64::try_from(payload.len())
                    .unwrap_or(u64::MAX)
                    .to_le_bytes(),
            )
            .update(payload);
        if self.prints {
            let hash = blake3::hash(payload).to_hex();
            let hash = hash.get(..8).unwrap_or_default();
            eprintln!("{:>10.3} n{node} {chain} {what} {hash}", millis(now));
        }
    }

    /// A remark for whoever reads the trace; not part of the hash.
    pub fn remark(&self, now: u64, node: usize, text: &dyn Fn() -> String) {
        if self.prints {
            eprintln!("{:>10.3} n{node} {}", millis(now), text());
        }
    }

    /// Number of events so far.
    pub const fn events(&self) -> u64 {
        self.events
    }

    /// The hash of all events so far.
    pub fn hash(&self) -> [u8; 32] {
        *self.hasher.finalize().as_bytes()
    }
}

/// Milliseconds for people.
pub fn millis(micros: u64) -> f64 {
    let whole = u32::try_from(micros / 1000).unwrap_or(u32::MAX);
    let rest = u32::try_from(micros % 1000).unwrap_or(0);
    f64::from(whole) + f64::from(rest) / 1000.0
}
