//! One model, one file: bits packed, scales and biases beside them, everything that running it needs in the metadata.
//!
//! The file is an ordinary safetensors container; `docs/model-format.md` describes it for readers in other languages.
//! A [`Model`] becomes a file in three steps, each with its inverse:
//!
//! 1. `encode` names its tensors and writes its description as metadata, `decode` reads both strictly;
//! 2. `checksum` is the SHA-256 over all of that, in an order that no layout of the file changes;
//! 3. `container` puts metadata and tensors into bytes and finds them again.
//!
//! Reading trusts nothing: every length is compared with the file before memory is taken for it, so a bad file costs
//! an error that names what is wrong, never a panic and never more memory than a small multiple of its length.

mod check;
mod checksum;
mod container;
mod decode;
mod encode;
mod error;
mod file;
mod model;
mod random;
mod weight_shape;
mod weights;

pub use container::MAX_HEADER_BYTES;
pub use error::{ModelError, TensorError};
pub use file::MAX_FILE_BYTES;
pub use model::{Model, Preprocessing, Provenance, Quantization};
pub use weights::{BinaryWeights, FullWeights, LayerWeights};

pub(crate) use weight_shape::WeightShape;

/// What the metadata key `format` says.
const FORMAT: &str = "onebit_detector model";
/// The version of the format that is written and read.
const FORMAT_VERSION: &str = "1";

/// Keys of the metadata.
mod key {
    pub(super) const FORMAT: &str = "format";
    pub(super) const FORMAT_VERSION: &str = "format_version";
    pub(super) const NETWORK: &str = "network";
    pub(super) const PREPROCESSING: &str = "preprocessing";
    pub(super) const PROVENANCE: &str = "provenance";
    pub(super) const SHA256: &str = "sha256";

    pub(super) const ALL: [&str; 6] = [FORMAT, FORMAT_VERSION, NETWORK, PREPROCESSING, PROVENANCE, SHA256];
}
