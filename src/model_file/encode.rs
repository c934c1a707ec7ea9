//! From a model to metadata and named tensors.

use super::{
    BinaryWeights, FORMAT, FORMAT_VERSION, LayerWeights, Model, ModelError,
    checksum::checksum,
    container::{Container, Tensor},
    key,
    weight_shape::WeightShape,
};
use bytes::Bytes;
use safetensors::Dtype;
use serde::Serialize;
use std::collections::BTreeMap;

/// Names of the tensors.
pub(super) mod name {
    /// `[layers]`, the scale of each layer's output.
    pub(in super::super) const ACTIVATION_SCALE: &str = "activations.scale";
    /// `[layers]`, the zero point of each layer's output.
    pub(in super::super) const ACTIVATION_ZERO_POINT: &str = "activations.zero_point";

    pub(in super::super) fn bits(layer: &str) -> String {
        format!("{layer}.bits")
    }

    pub(in super::super) fn scale(layer: &str) -> String {
        format!("{layer}.scale")
    }

    pub(in super::super) fn weight(layer: &str) -> String {
        format!("{layer}.weight")
    }

    pub(in super::super) fn bias(layer: &str) -> String {
        format!("{layer}.bias")
    }
}

/// The contents of the file, checksum included.
///
/// # Errors
/// As [`Model::check`].
pub(super) fn encode(model: &Model) -> Result<Container, ModelError> {
    model.check()?;
    let mut container = Container { metadata: metadata(model), tensors: tensors(model) };
    let sum = checksum(&container);
    container.metadata.insert(key::SHA256.into(), sum);
    Ok(container)
}

fn metadata(model: &Model) -> BTreeMap<String, String> {
    let entry = |key, value: String| (String::from(key), value);
    BTreeMap::from([
        entry(key::FORMAT, FORMAT.into()),
        entry(key::FORMAT_VERSION, FORMAT_VERSION.into()),
        entry(key::NETWORK, to_json(&model.network)),
        entry(key::PREPROCESSING, to_json(&model.preprocessing)),
        entry(key::PROVENANCE, to_json(&model.provenance)),
    ])
}

fn to_json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("structs of strings and numbers are always JSON")
}

fn tensors(model: &Model) -> BTreeMap<String, Tensor> {
    let mut tensors = BTreeMap::new();
    for (index, (layer, weights)) in model.network.layers().iter().zip(&model.weights).enumerate() {
        let layer = &layer.name;
        match (WeightShape::of(&model.network, index), weights) {
            (WeightShape::Binary { shape: [filters, ..], .. }, LayerWeights::Binary(binary)) => {
                let bits = bytes(vec![filters, BinaryWeights::row_bytes(binary.inputs)], binary.bits.clone());
                tensors.insert(name::bits(layer), bits);
                tensors.insert(name::scale(layer), floats(vec![filters], &binary.scale));
                tensors.insert(name::bias(layer), floats(vec![filters], &binary.bias));
            }
            (WeightShape::Full { shape }, LayerWeights::Full(full)) => {
                tensors.insert(name::weight(layer), floats(shape.into(), &full.weights));
                tensors.insert(name::bias(layer), floats(vec![shape[0]], &full.bias));
            }
            _ => {} // the model is checked, so this layer has no weights
        }
    }
    if let Some(ranges) = &model.quantization {
        let scales: Vec<f32> = ranges.iter().map(|q| q.scale).collect();
        let zero_points: Vec<u8> = ranges.iter().map(|q| q.zero_point).collect();
        tensors.insert(name::ACTIVATION_SCALE.into(), floats(vec![ranges.len()], &scales));
        tensors.insert(name::ACTIVATION_ZERO_POINT.into(), bytes(vec![ranges.len()], zero_points.into()));
    }
    tensors
}

fn bytes(shape: Vec<usize>, data: Bytes) -> Tensor {
    Tensor { dtype: Dtype::U8, shape, data }
}

fn floats(shape: Vec<usize>, values: &[f32]) -> Tensor {
    let data: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    Tensor { dtype: Dtype::F32, shape, data: data.into() }
}
