//! Is a model fit to be run and written?

use super::{
    BinaryWeights, FullWeights, LayerWeights, Model, ModelError, Quantization, TensorError,
    encode::name,
    key,
    weight_shape::{WeightShape, weights_per_filter},
};

/// Names that no layer may have: tensors of the file, or the input of an exported graph, are called so.
const RESERVED_NAMES: [&str; 2] = ["activations", "image"];

impl Model {
    /// Checks that the weights are those of the network and that every number can be used.
    ///
    /// Scales must not be zero (a filter that no input reaches is an accident of training or packing, and so is one so
    /// small that it is subnormal); only a batch norm can make one negative. Bits after a filter's last weight are 0,
    /// everything is finite. What is read from a file or was written to one has passed this.
    ///
    /// # Errors
    /// Names the first tensor (or layer, or entry of the metadata) that is wrong.
    pub fn check(&self) -> Result<(), ModelError> {
        let layers = self.network.layers();
        if self.weights.len() != layers.len() {
            let reason = format!("{} layers, weights of {}", layers.len(), self.weights.len());
            return Err(ModelError::metadata(key::NETWORK, reason));
        }
        for (index, (layer, weights)) in layers.iter().zip(&self.weights).enumerate() {
            if RESERVED_NAMES.contains(&layer.name.as_str()) {
                return Err(ModelError::layer(&layer.name, "this name is taken, choose another"));
            }
            check_layer(&layer.name, WeightShape::of(&self.network, index), weights)?;
        }
        if let Some(ranges) = &self.quantization {
            check_quantization(ranges, layers.len())?;
        }
        match self.provenance.metrics.iter().find(|(_, value)| !value.is_finite()) {
            Some((metric, value)) => {
                Err(ModelError::metadata(key::PROVENANCE, format!("metric '{metric}' is {value}, must be finite")))
            }
            None => Ok(()),
        }
    }
}

fn check_layer(layer: &str, shape: WeightShape, weights: &LayerWeights) -> Result<(), ModelError> {
    match (shape, weights) {
        (WeightShape::None, LayerWeights::None) => Ok(()),
        (WeightShape::Binary { shape, batch_norm }, LayerWeights::Binary(binary)) => {
            let (filters, inputs) = (shape[0], weights_per_filter(shape));
            let found = [binary.inputs, binary.bits.len(), binary.scale.len(), binary.bias.len()];
            let expected = [inputs, filters * BinaryWeights::row_bytes(inputs), filters, filters];
            check_lengths(layer, ["inputs", "bytes of bits", "scales", "biases"], found, expected)?;
            check_binary(layer, binary, batch_norm)
        }
        (WeightShape::Full { shape }, LayerWeights::Full(full)) => {
            let (filters, inputs) = (shape[0], weights_per_filter(shape));
            let found = [full.inputs, full.weights.len(), full.bias.len()];
            let expected = [inputs, filters * inputs, filters];
            check_lengths(layer, ["inputs", "weights", "biases"], found, expected)?;
            check_full(layer, full)
        }
        (shape, _) => {
            let kind = match shape {
                WeightShape::None => "no weights",
                WeightShape::Binary { .. } => "binary weights",
                WeightShape::Full { .. } => "full-precision weights",
            };
            Err(ModelError::layer(layer, format!("must have {kind}")))
        }
    }
}

fn check_lengths<const N: usize>(
    layer: &str,
    what: [&str; N],
    found: [usize; N],
    expected: [usize; N],
) -> Result<(), ModelError> {
    match (0..N).find(|&i| found[i] != expected[i]) {
        Some(i) => Err(ModelError::layer(layer, format!("{} {}, must be {}", found[i], what[i], expected[i]))),
        None => Ok(()),
    }
}

fn check_binary(layer: &str, binary: &BinaryWeights, batch_norm: bool) -> Result<(), ModelError> {
    check_finite(&binary.scale).map_err(|e| e.of(&name::scale(layer)))?;
    let (allowed, good): (_, fn(f32) -> bool) = if batch_norm {
        ("a normal number other than 0", f32::is_normal)
    } else {
        ("a normal number above 0", |scale| scale.is_normal() && scale > 0.0)
    };
    check_scales(&binary.scale, allowed, good).map_err(|e| e.of(&name::scale(layer)))?;
    check_finite(&binary.bias).map_err(|e| e.of(&name::bias(layer)))?;
    check_pad_bits(binary).map_err(|e| e.of(&name::bits(layer)))
}

fn check_full(layer: &str, full: &FullWeights) -> Result<(), ModelError> {
    check_finite(&full.weights).map_err(|e| e.of(&name::weight(layer)))?;
    check_finite(&full.bias).map_err(|e| e.of(&name::bias(layer)))
}

fn check_quantization(ranges: &[Quantization], layers: usize) -> Result<(), ModelError> {
    let scales: Vec<f32> = ranges.iter().map(|q| q.scale).collect();
    let check = || {
        if ranges.len() != layers {
            return Err(TensorError::Shape { expected: vec![layers], found: vec![ranges.len()] });
        }
        check_finite(&scales)?;
        check_scales(&scales, "a normal number above 0", |scale| scale.is_normal() && scale > 0.0)
    };
    check().map_err(|e| e.of(name::ACTIVATION_SCALE))
}

fn check_finite(values: &[f32]) -> Result<(), TensorError> {
    match values.iter().position(|value| !value.is_finite()) {
        Some(index) => Err(TensorError::NotFinite { index, value: values[index] }),
        None => Ok(()),
    }
}

fn check_scales(scales: &[f32], allowed: &'static str, good: fn(f32) -> bool) -> Result<(), TensorError> {
    match scales.iter().position(|&scale| !good(scale)) {
        Some(index) => Err(TensorError::Scale { index, value: scales[index], allowed }),
        None => Ok(()),
    }
}

fn check_pad_bits(binary: &BinaryWeights) -> Result<(), TensorError> {
    let used = binary.inputs % 8;
    let padded = |filter: &usize| binary.row(*filter).last().is_some_and(|byte| byte >> used != 0);
    match (0..binary.filters()).filter(|_| used != 0).find(padded) {
        Some(filter) => Err(TensorError::PadBits { filter }),
        None => Ok(()),
    }
}
