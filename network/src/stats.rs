//! Counters: what moved, what was dropped and why, for metrics and tests.

use crate::frame::{ByClass, Class};
use std::sync::atomic::{AtomicU64, Ordering};

/// One counter; it only grows.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

macro_rules! counters {
    ($counters:ident, $(#[$doc:meta])* $snapshot:ident { $($(#[$field_doc:meta])* $field:ident,)* }
     $($group:ident: $group_doc:literal)?) => {
        #[derive(Debug, Default)]
        pub(crate) struct $counters {
            $(pub(crate) $group: ByClass<ClassCounters>,)?
            $(pub(crate) $field: Counter,)*
        }

        $(#[$doc])*
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
        pub struct $snapshot {
            $(#[doc = $group_doc] pub $group: ByClass<ClassStats>,)?
            $($(#[$field_doc])* pub $field: u64,)*
        }

        impl $counters {
            pub(crate) fn snapshot(&self) -> $snapshot {
                $snapshot {
                    $($group: ByClass::from_fn(|class: Class| self.$group.get(class).snapshot()),)?
                    $($field: self.$field.get(),)*
                }
            }
        }
    };
}

counters! {
    ClassCounters,
    /// Counters of one class, over all peers.
    ClassStats {
        /// Frames that were delivered to the consumer.
        frames_in,
        /// Their payload bytes.
        bytes_in,
        /// Frames that were handed to a substream.
        frames_out,
        /// Their payload bytes.
        bytes_out,
        /// Outbound frames that gave way to newer ones.
        dropped_oldest,
        /// Outbound frames that were refused because the queue was full.
        refused_full,
        /// Frames that waited in the queue of a peer that disconnected.
        dropped_disconnected,
    }
}

counters! {
    Counters,
    /// Counters of the service since its start.
    NetworkStats {
        /// Peers whose hello was refused, by us or by them.
        hellos_refused,
        /// Penalties given.
        misbehaviours,
        /// Bans given.
        bans,
        /// Connections closed because nothing came for too long.
        silent_connections,
        /// Dials begun.
        dials,
        /// Gossip messages delivered to the consumer.
        gossip_in,
        /// Gossip messages published by this node.
        gossip_out,
        /// Gossip messages dropped because the consumer lagged.
        gossip_dropped,
        /// Gossip messages not published because nobody listens or all queues are full.
        gossip_unpublished,
        /// Commands dropped because too many waited.
        commands_dropped,
    }
    classes: "Per class."
}
