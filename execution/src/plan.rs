//! What a call touches and sends, known from the call alone.
//!
//! A plan names whole objects: all keys of an owner. The view fails a call that touches anything
//! else, and one that sends what its plan does not declare, so a plan is never wrong silently;
//! [`crate::parallel`] and [`crate::credit`] rely on that.

use crate::network::NetworkInfo;
use skerry_types::ids::{Address, ChainRef, ModuleId};
use skerry_types::message::Credit;
use skerry_types::transaction::Nonce;
use smallvec::SmallVec;

/// How an object is touched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Read only.
    Read,
    /// Read and written; calls that share it run in order.
    Exclusive,
    /// Amounts are added and fresh records inserted, nothing is read: calls that share it commute, as
    /// long as no sum is too large. A block in which a record is inserted so runs in order.
    AddOnly,
}

impl Access {
    /// The name in failures.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Read => "reading",
            Self::Exclusive => "writing",
            Self::AddOnly => "adding",
        }
    }

    /// Whether a declared access allows a wanted one.
    pub const fn allows(self, wanted: Self) -> bool {
        matches!(
            (self, wanted),
            (Self::Exclusive, _) | (Self::Read, Self::Read) | (Self::AddOnly, Self::AddOnly)
        )
    }
}

/// The objects that a call touches, and what it sends at most.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Most calls touch one or two beside the sender; those need no allocation.
    objects: SmallVec<[(Address, Access); 2]>,
    /// Most calls send nothing.
    sends: Vec<(ChainRef, Credit)>,
}

impl Plan {
    /// Touches nothing but the sheet.
    pub fn nothing() -> Self {
        Self::default()
    }

    /// Touches one object.
    pub fn of(object: Address, access: Access) -> Self {
        Self::nothing().and(object, access)
    }

    /// Sends messages to a chain that take so much of its credit, at most.
    #[must_use]
    pub fn sending(mut self, destination: ChainRef, credit: Credit) -> Self {
        self.sends.push((destination, credit));
        self
    }

    /// What is sent at most, and where to.
    pub fn sends(&self) -> &[(ChainRef, Credit)] {
        &self.sends
    }

    /// Adds an object.
    #[must_use]
    pub fn and(mut self, object: Address, access: Access) -> Self {
        self.objects.push((object, access));
        self
    }

    /// The objects.
    pub fn objects(&self) -> &[(Address, Access)] {
        &self.objects
    }

    /// Whether the plan allows `wanted` on `object`.
    pub fn allows(&self, object: &Address, wanted: Access) -> bool {
        self.objects
            .iter()
            .any(|(declared, access)| declared == object && access.allows(wanted))
    }
}

/// What a plan may depend on beside the call: constants, who calls, and at which place in which of
/// its transactions. All of it is known from the transaction alone.
#[derive(Clone, Copy, Debug)]
pub struct PlanContext<'a> {
    /// The network.
    pub network: &'a NetworkInfo,
    /// The executing chain.
    pub chain: ChainRef,
    /// Who calls.
    pub sender: Address,
    /// Nonce of the transaction; zero for messages.
    pub nonce: Nonce,
    /// Position of the operation in its bundle.
    pub operation: u16,
}

impl PlanContext<'_> {
    /// The object that this operation makes for `module`; it lives near the sender.
    ///
    /// A nonce is used once, so the id is new. A message has none: its bundle must not make objects
    /// by this, and on a shard cannot, since what it would make lives at the sender's home; no module
    /// of the beacon does.
    pub fn new_object(&self, module: ModuleId) -> Address {
        let Nonce { stream, sequence } = self.nonce;
        Address::of_object(module.get(), &self.sender, stream, sequence, self.operation)
    }
}
