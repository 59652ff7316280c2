//! What is wrong with a text in a request or reply.

use crate::v1::ErrorReason;

/// A field that does not hold what it should.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("field `{field}`: {found:?} is not {expected}")]
pub struct ConvertError {
    /// Name of the field.
    pub field: &'static str,
    /// What it held.
    pub found: String,
    /// What was expected, with its form.
    pub expected: String,
    /// The reason that a server answers with.
    pub reason: ErrorReason,
}
