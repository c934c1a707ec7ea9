//! Why a description is not a network.

use thiserror::Error;

/// A network description that cannot be built, and why.
#[derive(Debug, Error, PartialEq)]
pub enum NetworkError {
    /// A field beside the layers is wrong.
    #[error("{field}: {reason}")]
    Field {
        /// The field, as it is called in a file.
        field: &'static str,
        /// What is wrong and what would be right.
        reason: String,
    },
    /// A layer is wrong.
    #[error("layer {index} ({name}): {reason}")]
    Layer {
        /// Position in the list of layers, from 0.
        index: usize,
        /// The layer's name.
        name: String,
        /// What is wrong and what would be right.
        reason: String,
    },
}

impl NetworkError {
    pub(super) fn field(field: &'static str, reason: impl Into<String>) -> Self {
        Self::Field { field, reason: reason.into() }
    }
}
