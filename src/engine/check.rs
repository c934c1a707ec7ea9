//! Do a model's weights fit its network? A model that was read from a file always does; one made in memory may not.

use super::EngineError;
use crate::model_file::{BinaryWeights, LayerWeights, Model, WeightShape, weights_per_filter};

/// Every layer has weights of its kind and size.
pub(super) fn weights(model: &Model) -> Result<(), EngineError> {
    let network = &model.network;
    let layers = network.layers().len();
    if model.weights.len() != layers {
        return Err(EngineError::Count { what: "weights", found: model.weights.len(), layers });
    }
    for (index, weights) in model.weights.iter().enumerate() {
        let shape = WeightShape::of(network, index);
        check(weights, shape).map_err(|reason| EngineError::layer(network, index, reason))?;
    }
    Ok(())
}

fn check(weights: &LayerWeights, shape: WeightShape) -> Result<(), String> {
    let length = |what: &str, found: usize, wanted: usize| match found == wanted {
        true => Ok(()),
        false => Err(format!("{found} {what}, {wanted} are needed")),
    };
    let finite = |what: &str, values: &[f32]| match values.iter().position(|v| !v.is_finite()) {
        None => Ok(()),
        Some(at) => Err(format!("{what} {at} is {}", values[at])),
    };
    match (weights, shape) {
        (LayerWeights::None, WeightShape::None) => Ok(()),
        (LayerWeights::Binary(w), WeightShape::Binary { shape, .. }) => {
            let (filters, inputs) = (shape[0], weights_per_filter(shape));
            length("inputs", w.inputs, inputs)?;
            length("bytes of bits", w.bits.len(), filters * BinaryWeights::row_bytes(inputs))?;
            length("scales", w.scale.len(), filters)?;
            length("biases", w.bias.len(), filters)?;
            let past = inputs % 8;
            if past > 0 && (0..filters).any(|f| w.row(f)[inputs / 8] >> past != 0) {
                return Err("bits after a filter's last weight are not 0".into());
            }
            finite("scale", &w.scale)?;
            finite("bias", &w.bias)
        }
        (LayerWeights::Full(w), WeightShape::Full { shape }) => {
            let (filters, inputs) = (shape[0], weights_per_filter(shape));
            length("inputs", w.inputs, inputs)?;
            length("weights", w.weights.len(), filters * inputs)?;
            length("biases", w.bias.len(), filters)?;
            finite("weight", &w.weights)?;
            finite("bias", &w.bias)
        }
        (_, wanted) => Err(match wanted {
            WeightShape::None => "has weights, needs none".into(),
            WeightShape::Binary { .. } => "needs binary weights".into(),
            WeightShape::Full { .. } => "needs full-precision weights".into(),
        }),
    }
}
