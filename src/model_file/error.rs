//! Why a model cannot be used, read or written.

use super::{FORMAT_VERSION, MAX_FILE_BYTES, MAX_HEADER_BYTES};
use safetensors::Dtype;
use std::{io, path::PathBuf};
use thiserror::Error;

/// A model, or a model file, that cannot be used, and why.
#[derive(Debug, Error)]
pub enum ModelError {
    /// Something is wrong with the file at this path.
    #[error("{}: {reason}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: Box<ModelError>,
    },
    /// The system could not read or write.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The file has more bytes than any model.
    #[error("{0} bytes, at most {MAX_FILE_BYTES} are possible: not a model file")]
    FileTooLarge(u64),
    /// The bytes are no safetensors container at all.
    #[error("not a safetensors file: {0}")]
    NotSafetensors(String),
    /// The header says, or would need, more bytes than any model has.
    #[error("a header of {0} bytes, at most {MAX_HEADER_BYTES} are possible: not a model file")]
    HeaderTooLarge(u64),
    /// The file ends too early.
    #[error("truncated: {found} bytes, must be {expected}")]
    Truncated {
        /// Bytes that the header announces.
        expected: u64,
        /// Bytes of the file.
        found: u64,
    },
    /// The file goes on after its last tensor.
    #[error("{found} bytes, must end after {expected}: something was appended")]
    TrailingBytes {
        /// Bytes that the header announces.
        expected: u64,
        /// Bytes of the file.
        found: u64,
    },
    /// The file is of another version of the format.
    #[error("format version '{0}', this program reads '{FORMAT_VERSION}'")]
    Version(String),
    /// An entry of the metadata is missing or wrong.
    #[error("metadata '{key}': {reason}")]
    Metadata {
        /// The entry.
        key: String,
        /// What is wrong and what would be right.
        reason: String,
    },
    /// A tensor is missing or wrong.
    #[error("tensor '{tensor}': {reason}")]
    Tensor {
        /// The tensor.
        tensor: String,
        /// What is wrong with it.
        reason: TensorError,
    },
    /// A model in memory has weights that its network does not ask for.
    #[error("layer '{layer}': {reason}")]
    Layer {
        /// The layer.
        layer: String,
        /// What is wrong and what would be right.
        reason: String,
    },
    /// The contents are not those that were written.
    #[error("checksum: the contents have {computed}, the file says '{stated}': it is damaged or was edited")]
    Checksum {
        /// The SHA-256 in the metadata.
        stated: String,
        /// The SHA-256 of what the file contains.
        computed: String,
    },
}

/// What is wrong with a tensor.
#[derive(Clone, Debug, Error, PartialEq)]
pub enum TensorError {
    /// The network needs it.
    #[error("missing")]
    Missing,
    /// The network has no such tensor.
    #[error("the network has no such tensor")]
    Unexpected,
    /// Its elements are of another type.
    #[error("elements are {found}, must be {expected}")]
    Dtype {
        /// What the format says.
        expected: Dtype,
        /// What the file says.
        found: Dtype,
    },
    /// Its shape does not fit the network.
    #[error("shape {found:?}, the network needs {expected:?}")]
    Shape {
        /// What the network needs.
        expected: Vec<usize>,
        /// What the file says.
        found: Vec<usize>,
    },
    /// Its bytes do not start where the tensor before it ends.
    #[error("starts at byte {found} of the data, must start at {expected}")]
    Offset {
        /// End of the tensor before it.
        expected: usize,
        /// Where it starts.
        found: usize,
    },
    /// Its shape does not fit its bytes.
    #[error("shape {shape:?} of {dtype} does not fill bytes {start} to {end} of the data")]
    Length {
        /// Its elements' type.
        dtype: Dtype,
        /// Its shape.
        shape: Vec<usize>,
        /// Where its bytes start.
        start: usize,
        /// Where they end.
        end: usize,
    },
    /// A number is NaN or infinite.
    #[error("element {index} is {value}, must be finite")]
    NotFinite {
        /// Position, counted through all dimensions.
        index: usize,
        /// The number.
        value: f32,
    },
    /// A scale is zero (or so small that it was an accident), or negative where nothing can make it so.
    #[error("element {index} is {value}, must be {allowed}")]
    Scale {
        /// Position.
        index: usize,
        /// The scale.
        value: f32,
        /// What is possible here.
        allowed: &'static str,
    },
    /// A bit after the last weight of a filter is set.
    #[error("filter {filter}: the bits after its last weight must be 0")]
    PadBits {
        /// The filter.
        filter: usize,
    },
}

impl ModelError {
    pub(super) fn metadata(key: &str, reason: impl ToString) -> Self {
        Self::Metadata { key: key.into(), reason: reason.to_string() }
    }

    pub(super) fn layer(layer: &str, reason: impl Into<String>) -> Self {
        Self::Layer { layer: layer.into(), reason: reason.into() }
    }
}

impl TensorError {
    /// This error, of that tensor.
    pub(super) fn of(self, tensor: &str) -> ModelError {
        ModelError::Tensor { tensor: tensor.into(), reason: self }
    }
}
