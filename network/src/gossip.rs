//! Gossip: publishing, receiving and deciding what travels on.
//!
//! A message travels on when its neighbour passed the hello, its topic is a chain's, its size is
//! right and the consumer has room for it; with `Limits::gossip_awaits_validation` also only when
//! the application accepted it.

use crate::events::{GossipTicket, NetworkEvent};
use crate::handle::GossipVerdict;
use crate::key::PeerKey;
use crate::reputation::Misbehaviour;
use crate::service::Service;
use bytes::Bytes;
use libp2p::PeerId;
use libp2p::gossipsub::{self, MessageAcceptance, MessageId};
use skerry_types::ids::ChainRef;

impl Service {
    /// Sends a payload to all that listen on the chain's topic.
    pub(crate) fn publish(&mut self, chain: ChainRef, payload: &Bytes) {
        let Some(topic) = self.topic_of.get(&chain).cloned() else {
            return;
        };
        let gossip = &mut self.swarm.behaviour_mut().gossip;
        let counters = &self.shared.counters;
        match gossip.publish(topic, payload.to_vec()) {
            Ok(_) => counters.gossip_out.add(1),
            // Somebody published the same before: it is on its way.
            Err(gossipsub::PublishError::Duplicate) => {}
            Err(error) => {
                tracing::debug!(%error, %chain, "a message was not published");
                counters.gossip_unpublished.add(1);
            }
        }
    }

    /// Takes the application's verdict.
    pub(crate) fn validate(&mut self, ticket: GossipTicket, verdict: GossipVerdict) {
        if self.shared.limits.gossip_awaits_validation {
            let acceptance = match verdict {
                GossipVerdict::Accept => MessageAcceptance::Accept,
                GossipVerdict::Ignore => MessageAcceptance::Ignore,
                GossipVerdict::Reject => MessageAcceptance::Reject,
            };
            let id = MessageId::from(ticket.id.to_vec());
            self.decide(&id, ticket.source.to_peer_id(), acceptance);
        }
        if verdict == GossipVerdict::Reject {
            self.penalise(ticket.source, Misbehaviour::InvalidGossip);
        }
    }

    /// A message came from a neighbour.
    pub(crate) fn on_gossip(
        &mut self,
        source: PeerId,
        id: &MessageId,
        message: gossipsub::Message,
    ) {
        let Some(peer) =
            PeerKey::from_peer_id(&source).filter(|peer| self.peers.contains_key(peer))
        else {
            // Its hello is not done: what it says does not travel on.
            self.decide(id, source, MessageAcceptance::Ignore);
            return;
        };
        let chain = self.chain_of.get(&message.topic).copied();
        let is_small = message.data.len() <= self.shared.limits.gossip_bytes_max;
        let ticket = <[u8; 32]>::try_from(id.0.as_slice());
        let (Some(chain), true, Ok(ticket)) = (chain, is_small, ticket) else {
            self.decide(id, source, MessageAcceptance::Reject);
            self.penalise(peer, Misbehaviour::InvalidGossip);
            return;
        };
        let event = NetworkEvent::Gossip {
            from: Some(peer),
            chain,
            payload: message.data.into(),
            ticket: GossipTicket {
                id: ticket,
                source: peer,
            },
        };
        if self.events.gossip.try_send(event.into()).is_err() {
            self.shared.counters.gossip_dropped.add(1);
            self.decide(id, source, MessageAcceptance::Ignore);
            return;
        }
        self.shared.counters.gossip_in.add(1);
        if !self.shared.limits.gossip_awaits_validation {
            self.decide(id, source, MessageAcceptance::Accept);
        }
    }

    fn decide(&mut self, id: &MessageId, source: PeerId, acceptance: MessageAcceptance) {
        let gossip = &mut self.swarm.behaviour_mut().gossip;
        gossip.report_message_validation_result(id, &source, acceptance);
    }
}
