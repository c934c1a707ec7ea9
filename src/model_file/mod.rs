//! One model, one file: bits packed, scales and biases beside them, everything that running it needs in the metadata.

mod model;
mod weights;

pub use model::{Model, ModelError, Preprocessing, Provenance, Quantization};
pub use weights::{BinaryWeights, FullWeights, LayerWeights};
