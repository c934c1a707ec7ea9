//! A model as an ONNX file, for other runtimes.
//!
//! The file computes what the engine computes in f32 mode: binary weights become the constants ±α, a depthwise
//! convolution a grouped one. Its input `image` is `[1, 3, height, width]`, red, green, blue, 0 to 1, already letterboxed;
//! its outputs are called after the layers of the network.

mod graph;
mod proto;

use crate::{
    model_file::{Model, ModelError},
    network::Network,
};
use graph::Graph;
use prost::Message;
use proto::{ModelProto, OperatorSetId};

/// Name of the input.
pub const INPUT: &str = "image";
/// Of ONNX 1.12 (2022): old enough for every runtime in use.
const IR_VERSION: i64 = 8;
/// The operators of the same release.
const OPSET_VERSION: i64 = 17;

/// Which layers' outputs the file gives out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Outputs<'a> {
    /// Only the last one's, which the head decodes.
    #[default]
    Last,
    /// Every layer's, in the order of the network: to compare layer by layer.
    EveryLayer,
    /// The last one's and those of the layers of these names, in the order of the network: taps of a teacher.
    LastAnd(&'a [String]),
}

/// Writes a model as ONNX.
///
/// # Errors
/// As [`Model::check`]; or names the output that is no layer.
pub fn export(model: &Model, outputs: Outputs<'_>) -> Result<Vec<u8>, ModelError> {
    model.check()?;
    if let Outputs::LastAnd(names) = outputs {
        check_names(names, &model.network)?;
    }
    let mut graph = Graph::new(&model.network);
    for (index, weights) in model.weights.iter().enumerate() {
        graph.layer(index, weights);
    }
    let file = ModelProto {
        ir_version: IR_VERSION,
        producer_name: env!("CARGO_PKG_NAME").into(),
        producer_version: env!("CARGO_PKG_VERSION").into(),
        graph: Some(graph.finish(outputs)),
        opset_import: vec![OperatorSetId { domain: String::new(), version: OPSET_VERSION }],
    };
    Ok(file.encode_to_vec())
}

fn check_names(names: &[String], network: &Network) -> Result<(), ModelError> {
    match names.iter().find(|name| network.layers().iter().all(|layer| layer.name != **name)) {
        Some(unknown) => Err(ModelError::Layer { layer: unknown.clone(), reason: "the network has no such layer".into() }),
        None => Ok(()),
    }
}
