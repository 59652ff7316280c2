//! Whom to dial, and when.
//!
//! Configured targets are dialled for ever: after a failure the wait doubles from
//! `Limits::redial_min` to `Limits::redial_max`, without randomness, so that two runs behave alike.
//! Peers learned from other peers are dialled by the same rule a bounded number of times. Of two
//! peers that learn of each other, the one with the smaller key dials at once and the other a
//! second later, which mostly spares the second connection. A target is left alone while its peer
//! is connected.

use crate::address::{self, Reach};
use crate::error::NetworkError;
use crate::key::PeerKey;
use crate::limits::Limits;
use libp2p::Multiaddr;
use libp2p::swarm::ConnectionId;
use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use std::time::{Duration, Instant};

/// Head start of the peer with the smaller key.
const SECOND_DIALER_WAIT: Duration = Duration::from_secs(1);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    /// Configured with `/p2p/ID`, or learned: dialled under this id only.
    Named,
    /// Configured without an id: whoever answers is welcome.
    Unnamed,
}

#[derive(Debug)]
struct Target {
    origin: Origin,
    is_configured: bool,
    /// The named peer, or the one that answered last.
    peer: Option<PeerKey>,
    addresses: Vec<Multiaddr>,
    failures: u32,
    next_at: Instant,
    dialing: Option<ConnectionId>,
}

/// All targets.
#[derive(Debug)]
pub(crate) struct DialPlan {
    local: PeerKey,
    limits: Limits,
    targets: Vec<Target>,
}

impl DialPlan {
    /// Reads the configured addresses; those of one id become one target.
    ///
    /// # Errors
    /// When an address cannot be read.
    pub(crate) fn new(
        local: PeerKey,
        limits: &Limits,
        configured: &[String],
        now: Instant,
    ) -> Result<Self, NetworkError> {
        let mut plan = Self {
            local,
            limits: limits.clone(),
            targets: Vec::new(),
        };
        for text in configured {
            let (address, peer) = address::parse(text).ok_or_else(|| NetworkError::Address {
                address: text.clone(),
            })?;
            let same = plan
                .targets
                .iter_mut()
                .find(|target| peer.is_some() && target.peer == peer);
            match same {
                Some(target) => target.addresses.push(address),
                None if peer == Some(local) => {}
                None => plan.targets.push(Target {
                    origin: if peer.is_some() {
                        Origin::Named
                    } else {
                        Origin::Unnamed
                    },
                    is_configured: true,
                    peer,
                    addresses: vec![address],
                    failures: 0,
                    next_at: now,
                    dialing: None,
                }),
            }
        }
        Ok(plan)
    }

    /// Whether the peer was configured, and so keeps its place when all are taken.
    pub(crate) fn is_configured(&self, peer: PeerKey) -> bool {
        self.targets
            .iter()
            .any(|target| target.is_configured && target.peer == Some(peer))
    }

    /// Notes where a peer can be dialled, as told over a connection of reach `teller`.
    pub(crate) fn learn(&mut self, peer: PeerKey, told: &[String], teller: Reach, now: Instant) {
        let addresses_max = self.limits.addresses_per_peer_max;
        let allow_public = self.limits.allow_public;
        let mut addresses: Vec<Multiaddr> = told
            .iter()
            .take(addresses_max)
            .filter_map(|text| address::parse(text))
            .filter(|(_, named)| named.is_none_or(|named| named == peer))
            .map(|(address, _)| address)
            .filter(|address| address::is_dialable(address, teller, allow_public))
            .collect();
        if peer == self.local || addresses.is_empty() {
            return;
        }
        if let Some(target) = self
            .targets
            .iter_mut()
            .find(|target| target.peer == Some(peer))
        {
            if !target.is_configured {
                addresses.retain(|address| !target.addresses.contains(address));
                addresses.append(&mut target.addresses);
                addresses.truncate(addresses_max);
                target.addresses = addresses;
            }
            return;
        }
        let learned = self
            .targets
            .iter()
            .filter(|target| !target.is_configured)
            .count();
        if learned >= self.limits.learned_peers_max {
            return;
        }
        let wait = if self.local < peer {
            Duration::ZERO
        } else {
            SECOND_DIALER_WAIT
        };
        self.targets.push(Target {
            origin: Origin::Named,
            is_configured: false,
            peer: Some(peer),
            addresses,
            failures: 0,
            next_at: later(now, wait),
            dialing: None,
        });
    }

    /// The next dial that is due, if any; it counts as running until its outcome is told.
    pub(crate) fn next_dial(
        &mut self,
        now: Instant,
        is_connected: impl Fn(PeerKey) -> bool,
    ) -> Option<DialOpts> {
        let target = self.targets.iter_mut().find(|target| {
            target.dialing.is_none()
                && target.next_at <= now
                && !target.peer.is_some_and(&is_connected)
        })?;
        let options = match (target.origin, target.peer, target.addresses.first()) {
            (Origin::Named, Some(peer), _) => DialOpts::peer_id(peer.to_peer_id())
                .condition(PeerCondition::NotDialing)
                .addresses(target.addresses.clone())
                .allocate_new_port()
                .build(),
            (_, _, Some(address)) => DialOpts::unknown_peer_id()
                .address(address.clone())
                .allocate_new_port()
                .build(),
            _ => return None,
        };
        target.dialing = Some(options.connection_id());
        Some(options)
    }

    /// When the next dial will be due.
    pub(crate) fn next_at(&self, is_connected: impl Fn(PeerKey) -> bool) -> Option<Instant> {
        self.targets
            .iter()
            .filter(|target| target.dialing.is_none() && !target.peer.is_some_and(&is_connected))
            .map(|target| target.next_at)
            .min()
    }

    /// A dial led to a connection with `peer`.
    pub(crate) fn on_established(&mut self, connection: ConnectionId, peer: PeerKey) {
        for target in self
            .targets
            .iter_mut()
            .filter(|target| target.dialing == Some(connection))
        {
            target.dialing = None;
            target.peer = Some(peer);
        }
    }

    /// A dial failed.
    pub(crate) fn on_failed(&mut self, connection: ConnectionId, now: Instant) {
        let limits = &self.limits;
        for target in self
            .targets
            .iter_mut()
            .filter(|target| target.dialing == Some(connection))
        {
            target.dialing = None;
            target.fail(limits, now);
        }
        self.forget_hopeless();
    }

    /// A dial ended at this very node.
    pub(crate) fn on_self(&mut self, connection: ConnectionId) {
        self.targets
            .retain(|target| target.dialing != Some(connection));
    }

    /// The peer passed the hello.
    pub(crate) fn on_ready(&mut self, peer: PeerKey) {
        for target in self.of(peer) {
            target.failures = 0;
        }
    }

    /// The peer's last connection closed after its hello.
    pub(crate) fn on_disconnected(&mut self, peer: PeerKey, now: Instant) {
        let wait = self.limits.redial_min;
        for target in self.of(peer) {
            target.next_at = target.next_at.max(later(now, wait));
        }
    }

    /// A connection closed before its hello was done.
    pub(crate) fn on_unfinished(&mut self, peer: PeerKey, now: Instant) {
        let limits = self.limits.clone();
        for target in self.of(peer) {
            target.fail(&limits, now);
        }
        self.forget_hopeless();
    }

    /// The peer must not be dialled before then; learned peers are forgotten instead.
    pub(crate) fn postpone(&mut self, peer: PeerKey, until: Instant) {
        self.targets
            .retain(|target| target.is_configured || target.peer != Some(peer));
        for target in self.of(peer) {
            target.next_at = target.next_at.max(until);
        }
    }

    fn of(&mut self, peer: PeerKey) -> impl Iterator<Item = &mut Target> {
        self.targets
            .iter_mut()
            .filter(move |target| target.peer == Some(peer))
    }

    fn forget_hopeless(&mut self) {
        let failures_max = self.limits.learned_dials_max;
        self.targets
            .retain(|target| target.is_configured || target.failures < failures_max);
    }
}

impl Target {
    fn fail(&mut self, limits: &Limits, now: Instant) {
        let doublings = self.failures.min(16);
        let wait = limits
            .redial_min
            .saturating_mul(1_u32 << doublings)
            .min(limits.redial_max);
        self.failures = self.failures.saturating_add(1);
        // A longer wait may have been set already, by a refusal or a ban.
        self.next_at = self.next_at.max(later(now, wait));
    }
}

fn later(now: Instant, wait: Duration) -> Instant {
    now.checked_add(wait).unwrap_or(now)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOCAL: PeerKey = PeerKey::new([1; 32]);
    const OTHER: PeerKey = PeerKey::new([2; 32]);

    fn plan(configured: &[&str], now: Instant) -> DialPlan {
        let configured: Vec<String> = configured.iter().map(ToString::to_string).collect();
        DialPlan::new(LOCAL, &Limits::default(), &configured, now).expect("addresses")
    }

    fn tell(plan: &mut DialPlan, peer: PeerKey, now: Instant) {
        plan.learn(
            peer,
            &["/ip4/127.0.0.1/tcp/1".to_owned()],
            Reach::Loopback,
            now,
        );
    }

    #[test]
    fn waits_double_to_the_longest_and_start_anew_after_a_hello() {
        let start = Instant::now();
        let mut plan = plan(&["/ip4/127.0.0.1/tcp/1"], start);
        let mut now = start;
        let mut waits = Vec::new();
        for _ in 0..7 {
            let dial = plan.next_dial(now, |_| false).expect("due");
            assert!(
                plan.next_dial(now, |_| false).is_none(),
                "one dial at a time"
            );
            plan.on_failed(dial.connection_id(), now);
            let next = plan.next_at(|_| false).expect("planned");
            waits.push((next - now).as_millis());
            now = next;
        }
        assert_eq!(waits, [250, 500, 1000, 2000, 4000, 5000, 5000]);
        let dial = plan.next_dial(now, |_| false).expect("due");
        plan.on_established(dial.connection_id(), OTHER);
        plan.on_ready(OTHER);
        assert!(
            plan.next_at(|peer| peer == OTHER).is_none(),
            "left alone while connected"
        );
        plan.on_disconnected(OTHER, now);
        assert_eq!(
            plan.next_at(|_| false),
            Some(now + Duration::from_millis(250))
        );
    }

    #[test]
    fn learned_peers_are_dialled_a_bounded_number_of_times() {
        let now = Instant::now();
        let mut plan = plan(&[], now);
        tell(&mut plan, LOCAL, now);
        assert!(plan.next_at(|_| false).is_none(), "never this node itself");
        tell(&mut plan, OTHER, now);
        tell(&mut plan, OTHER, now);
        let mut dials = 0;
        while let Some(at) = plan.next_at(|_| false) {
            let dial = plan.next_dial(at, |_| false).expect("due");
            plan.on_failed(dial.connection_id(), at);
            dials += 1;
        }
        assert_eq!(dials, Limits::default().learned_dials_max);
    }

    #[test]
    fn smaller_key_dials_first() {
        let now = Instant::now();
        let mut plan = plan(&[], now);
        tell(&mut plan, OTHER, now);
        assert_eq!(plan.next_at(|_| false), Some(now));
        tell(&mut plan, PeerKey::new([0; 32]), now);
        assert_eq!(
            plan.next_at(|peer| peer == OTHER),
            Some(now + SECOND_DIALER_WAIT)
        );
    }

    #[test]
    fn refused_targets_wait_and_refused_learned_peers_are_forgotten() {
        let now = Instant::now();
        let mut plan = plan(&[&format!("/ip4/127.0.0.1/tcp/1/p2p/{OTHER}")], now);
        let learned = PeerKey::new([3; 32]);
        tell(&mut plan, learned, now);
        let until = now + Duration::from_secs(60);
        plan.postpone(OTHER, until);
        plan.postpone(learned, until);
        assert_eq!(plan.next_at(|_| false), Some(until));
        assert!(plan.is_configured(OTHER) && !plan.is_configured(learned));
    }

    #[test]
    fn unreadable_addresses_are_errors() {
        let bad = ["127.0.0.1:26656".to_owned()];
        assert!(DialPlan::new(LOCAL, &Limits::default(), &bad, Instant::now()).is_err());
    }
}
