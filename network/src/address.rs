//! Which addresses are understood, told and dialled.
//!
//! Two forms are served, `/ip4|ip6|dns*/…/tcp/PORT` and `…/udp/PORT/quic-v1`. What an operator
//! configured is dialled as it stands. What peers tell is dialled only within the reach that the
//! configuration allows, so that a peer cannot point this node at arbitrary public hosts.

use crate::key::PeerKey;
use libp2p::Multiaddr;
use libp2p::multiaddr::Protocol;

/// How far an address reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    /// This machine.
    Loopback,
    /// Private ranges, link-local, and names of one label as containers have them.
    Private,
    /// Everything else.
    Public,
}

/// Reads a configured or told address and splits off its `/p2p/ID`. `None` for forms that are not
/// served, and for ids of other keys than ed25519.
pub(crate) fn parse(text: &str) -> Option<(Multiaddr, Option<PeerKey>)> {
    split(text.parse().ok()?)
}

/// As [`parse`], from the parsed form.
pub(crate) fn split(mut address: Multiaddr) -> Option<(Multiaddr, Option<PeerKey>)> {
    let peer = match address.iter().last()? {
        Protocol::P2p(peer) => {
            address.pop();
            Some(PeerKey::from_peer_id(&peer)?)
        }
        _ => None,
    };
    is_served(&address).then_some((address, peer))
}

fn is_served(address: &Multiaddr) -> bool {
    let mut parts = address.iter();
    let host = matches!(
        parts.next(),
        Some(
            Protocol::Ip4(_)
                | Protocol::Ip6(_)
                | Protocol::Dns(_)
                | Protocol::Dns4(_)
                | Protocol::Dns6(_)
        )
    );
    let transport = match parts.next() {
        Some(Protocol::Tcp(_)) => true,
        Some(Protocol::Udp(_)) => matches!(parts.next(), Some(Protocol::QuicV1)),
        _ => false,
    };
    host && transport && parts.next().is_none()
}

/// How far an address reaches; `None` when nobody can dial it.
pub(crate) fn reach(address: &Multiaddr) -> Option<Reach> {
    match address.iter().next()? {
        Protocol::Ip4(ip) if ip.is_unspecified() || ip.is_multicast() || ip.is_broadcast() => None,
        Protocol::Ip4(ip) if ip.is_loopback() => Some(Reach::Loopback),
        Protocol::Ip4(ip) if ip.is_private() || ip.is_link_local() => Some(Reach::Private),
        Protocol::Ip6(ip) if ip.is_unspecified() || ip.is_multicast() => None,
        Protocol::Ip6(ip) if ip.is_loopback() => Some(Reach::Loopback),
        Protocol::Ip6(ip) if ip.is_unique_local() || ip.is_unicast_link_local() => {
            Some(Reach::Private)
        }
        Protocol::Dns(name) | Protocol::Dns4(name) | Protocol::Dns6(name) => {
            Some(if name == "localhost" {
                Reach::Loopback
            } else if name.contains('.') {
                Reach::Public
            } else {
                Reach::Private
            })
        }
        Protocol::Ip4(_) | Protocol::Ip6(_) => Some(Reach::Public),
        _ => None,
    }
}

/// Whether an address that was told over a connection of reach `teller` may be dialled.
pub(crate) fn is_dialable(address: &Multiaddr, teller: Reach, allow_public: bool) -> bool {
    match reach(address) {
        None => false,
        Some(Reach::Loopback) => teller == Reach::Loopback,
        Some(Reach::Private) => true,
        Some(Reach::Public) => allow_public,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dialable(text: &str, teller: Reach, allow_public: bool) -> bool {
        parse(text).is_some_and(|(address, _)| is_dialable(&address, teller, allow_public))
    }

    #[test]
    fn served_forms_parse_and_others_do_not() {
        let id = "12D3KooWGjK3t6CP6gzPTGEgkzT3YL6Z7U1yAYMrvR2H36HCAQs8";
        for good in [
            "/ip4/1.2.3.4/tcp/1",
            "/dns4/node1/udp/1/quic-v1",
            "/ip6/::1/tcp/1",
        ] {
            assert_eq!(parse(good).map(|(_, peer)| peer), Some(None), "{good}");
            let with_id = parse(&format!("{good}/p2p/{id}"));
            assert_eq!(
                with_id
                    .and_then(|(_, peer)| peer)
                    .map(|key| key.to_string()),
                Some(id.to_owned())
            );
        }
        for bad in [
            "",
            "/ip4/1.2.3.4",
            "/ip4/1.2.3.4/udp/1",
            "/memory/1",
            "/ip4/1.2.3.4/tcp/1/ws",
        ] {
            assert!(parse(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn told_addresses_stay_within_the_tellers_reach() {
        assert!(dialable("/ip4/127.0.0.1/tcp/1", Reach::Loopback, false));
        assert!(!dialable("/ip4/127.0.0.1/tcp/1", Reach::Private, false));
        assert!(dialable("/ip4/172.18.0.3/tcp/1", Reach::Private, false));
        assert!(dialable("/dns4/node3/tcp/1", Reach::Private, false));
        assert!(!dialable("/dns4/example.org/tcp/1", Reach::Private, false));
        assert!(!dialable("/ip4/8.8.8.8/tcp/1", Reach::Public, false));
        assert!(dialable("/ip4/8.8.8.8/tcp/1", Reach::Public, true));
        assert!(!dialable("/ip4/0.0.0.0/tcp/1", Reach::Loopback, true));
    }
}
