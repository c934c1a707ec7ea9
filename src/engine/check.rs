//! Do a model's weights fit its network? A model that was read from a file always does; one made in memory may not.

use super::EngineError;
use crate::{
    model_file::{BinaryWeights, LayerWeights, Model},
    network::{Depthwise, Operation, Precision},
};

/// Every layer has weights of its kind and size.
pub(super) fn weights(model: &Model) -> Result<(), EngineError> {
    let network = &model.network;
    let layers = network.layers().len();
    if model.weights.len() != layers {
        return Err(EngineError::Count { what: "weights", found: model.weights.len(), layers });
    }
    for (index, (layer, weights)) in network.layers().iter().zip(&model.weights).enumerate() {
        let filters = network.shapes()[index].channels;
        let (precision, inputs) = match &layer.operation {
            Operation::Convolution(c) => {
                (Some(c.precision), network.source_shape(layer.inputs[0]).channels * c.kernel * c.kernel)
            }
            Operation::Depthwise(_) => (Some(Precision::Full), Depthwise::KERNEL * Depthwise::KERNEL),
            Operation::MaxPool | Operation::SpaceToDepth { .. } | Operation::Concat => (None, 0),
        };
        check(weights, precision, filters, inputs).map_err(|reason| EngineError::layer(network, index, reason))?;
    }
    Ok(())
}

fn check(weights: &LayerWeights, precision: Option<Precision>, filters: usize, inputs: usize) -> Result<(), String> {
    let length = |what: &str, found: usize, wanted: usize| match found == wanted {
        true => Ok(()),
        false => Err(format!("{found} {what}, {wanted} are needed")),
    };
    let finite = |what: &str, values: &[f32]| match values.iter().position(|v| !v.is_finite()) {
        None => Ok(()),
        Some(at) => Err(format!("{what} {at} is {}", values[at])),
    };
    match (weights, precision) {
        (LayerWeights::None, None) => Ok(()),
        (LayerWeights::Binary(w), Some(Precision::Binary)) => {
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
        (LayerWeights::Full(w), Some(Precision::Full)) => {
            length("inputs", w.inputs, inputs)?;
            length("weights", w.weights.len(), filters * inputs)?;
            length("biases", w.bias.len(), filters)?;
            finite("weight", &w.weights)?;
            finite("bias", &w.bias)
        }
        (_, wanted) => Err(match wanted {
            None => "has weights, needs none".into(),
            Some(Precision::Binary) => "needs binary weights".into(),
            Some(Precision::Full) => "needs full-precision weights".into(),
        }),
    }
}
