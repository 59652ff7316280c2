//! The gRPC API: messages, clients and servers generated from `proto/skerry/v1/*.proto`, the
//! descriptor set for reflection, and conversion to and from the types of the protocol.
//!
//! Nothing here decides anything: a reply is what [`convert`] makes of a block, receipt or status,
//! a request's texts are parsed by it, and what is no address, hash or amount is refused with the
//! [`v1::ErrorReason`] that says so. Signed bytes and proofs pass through untouched.

pub mod convert;
pub mod error;

#[cfg(test)]
mod tests;

/// Package `skerry.v1`.
#[expect(
    missing_docs,
    clippy::all,
    reason = "generated; documented in the .proto files"
)]
pub mod v1 {
    include!(concat!(env!("OUT_DIR"), "/skerry.v1.rs"));
}

/// Encoded `FileDescriptorSet` of the API, with comments.
pub const FILE_DESCRIPTOR_SET: &[u8] =
    include_bytes!(concat!(env!("OUT_DIR"), "/skerry_descriptor.bin"));

/// Domain of every `ErrorInfo`.
pub const ERROR_DOMAIN: &str = "skerry";

impl v1::ErrorReason {
    /// The reason as an `ErrorInfo` carries it: `NONCE_TOO_LOW`.
    pub fn name(self) -> &'static str {
        strip(self.as_str_name(), "ERROR_REASON_")
    }

    /// Reads [`Self::name`].
    pub fn from_name(name: &str) -> Option<Self> {
        Self::from_str_name(&format!("ERROR_REASON_{name}"))
    }
}

impl v1::Stage {
    /// The stage as people read it: `FINALIZED`.
    pub fn name(self) -> &'static str {
        strip(self.as_str_name(), "STAGE_")
    }

    /// Reads [`Self::name`] in either case, with `-` or `_`.
    pub fn from_name(name: &str) -> Option<Self> {
        let name = name.to_ascii_uppercase().replace('-', "_");
        Self::from_str_name(&format!("STAGE_{name}"))
    }
}

impl v1::Outcome {
    /// The outcome as people read it: `SUCCEEDED`.
    pub fn name(self) -> &'static str {
        strip(self.as_str_name(), "OUTCOME_")
    }

    /// Whether nothing can change it any more.
    pub fn is_decided(self) -> bool {
        !matches!(self, Self::Unspecified | Self::Pending)
    }
}

impl v1::LegKind {
    /// The kind as people read it: `TRANSFER`.
    pub fn name(self) -> &'static str {
        strip(self.as_str_name(), "LEG_KIND_")
    }
}

impl v1::BlockKind {
    /// The kind as people read it: `WORKING`.
    pub fn name(self) -> &'static str {
        strip(self.as_str_name(), "BLOCK_KIND_")
    }
}

fn strip(name: &'static str, prefix: &str) -> &'static str {
    name.strip_prefix(prefix).unwrap_or(name)
}
