//! Weights to start from that come from elsewhere: Darknet's `.weights` files and safetensors.
//!
//! A file fills the network's layers with weights in their order, all of them or the first ones: one of a backbone leaves
//! the layers behind it as they are. A last layer with another number of outputs (of other classes or anchors) is left
//! out. Nothing else may differ.

mod darknet;
mod error;
mod tensors;

pub use error::{Reason, WeightsError};

use crate::student::{Filters, Student};
use burn::{
    module::Param,
    tensor::{Tensor, TensorData},
};
use onebit_detector::network::{Network, Operation};
use std::{fmt, fs, path::Path};

/// How much of a network a file has filled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filled {
    /// Layers filled.
    pub layers: usize,
    /// Layers with weights in all.
    pub of: usize,
    /// The last layer filled.
    pub last: String,
    /// Outputs of the file's last layer, where it was left out because the network's has another number of them.
    pub left_out: Option<usize>,
}

/// Puts the weights of a file in place of the student's: safetensors if it is called so, else Darknet's format.
///
/// # Errors
/// If the file cannot be read, is of another network, or holds a value that cannot be a weight.
pub fn load(path: &Path, network: &Network, mut student: Student) -> Result<(Student, Filled), WeightsError> {
    let wrong = |reason| WeightsError { path: path.into(), reason };
    let bytes = fs::read(path).map_err(|e| wrong(Reason::Read(e)))?;
    let slots = slots(network, &student);
    let is_safetensors = path.extension().is_some_and(|extension| extension == "safetensors");
    let read = if is_safetensors { tensors::read } else { darknet::read };
    let Contents { layers, left_out } = read(&bytes, &slots).map_err(wrong)?;
    for (slot, values) in slots.iter().zip(&layers) {
        values.check(&slot.name).map_err(wrong)?;
    }
    let filled = Filled { layers: layers.len(), of: slots.len(), last: slots[layers.len() - 1].name.clone(), left_out };
    for (filters, values) in student.filters.iter_mut().zip(layers) {
        values.fill(filters);
    }
    Ok((student, filled))
}

impl fmt::Display for Filled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { layers, of, last, left_out } = self;
        write!(f, "{layers} of {of} layers filled, up to '{last}'")?;
        if let Some(outputs) = left_out {
            write!(f, "; the file's last layer has {outputs} outputs, not this network's: left out")?;
        }
        Ok(())
    }
}

/// A layer that takes weights.
struct Slot {
    name: String,
    /// `[filters, channels / groups, kernel, kernel]`.
    shape: [usize; 4],
    batch_norm: bool,
}

impl Slot {
    /// Values that belong to one filter: its kernel, and batch norm's four or the bias.
    fn values_of_a_filter(&self) -> usize {
        self.shape[1..].iter().product::<usize>() + if self.batch_norm { 4 } else { 1 }
    }

    fn values(&self) -> usize {
        self.shape[0] * self.values_of_a_filter()
    }
}

fn slots(network: &Network, student: &Student) -> Vec<Slot> {
    let has_weights = |operation: &_| matches!(operation, Operation::Convolution(_) | Operation::Depthwise(_));
    let layers = network.layers().iter().filter(|layer| has_weights(&layer.operation));
    let slot = |name: &String, filters: &Filters| Slot {
        name: name.clone(),
        shape: filters.latent.dims(),
        batch_norm: filters.norm.is_some(),
    };
    layers.zip(&student.filters).map(|(layer, filters)| slot(&layer.name, filters)).collect()
}

/// What a file holds for the first layers of a network, at least for one.
struct Contents {
    layers: Vec<LayerValues>,
    /// As in [`Filled`].
    left_out: Option<usize>,
}

/// The values of one layer.
struct LayerValues {
    /// `[filters, channels / groups, kernel, kernel]`.
    weights: Vec<f32>,
    offsets: Offsets,
}

/// What follows the convolution, each value one of a filter.
enum Offsets {
    Norm { scale: Vec<f32>, shift: Vec<f32>, mean: Vec<f32>, variance: Vec<f32> },
    Bias(Vec<f32>),
}

impl LayerValues {
    fn check(&self, layer: &str) -> Result<(), Reason> {
        let parts: Vec<(&'static str, &[f32])> = match &self.offsets {
            Offsets::Norm { scale, shift, mean, variance } => {
                vec![("scale", scale), ("shift", shift), ("mean", mean), ("variance", variance), ("weights", &self.weights)]
            }
            Offsets::Bias(bias) => vec![("bias", bias), ("weights", &self.weights)],
        };
        for (part, values) in parts {
            let possible = |value: &f32| value.is_finite() && (part != "variance" || *value >= 0.0);
            if let Some(index) = values.iter().position(|value| !possible(value)) {
                return Err(Reason::Value { layer: layer.to_owned(), part, index, value: values[index] });
            }
        }
        Ok(())
    }

    fn fill(self, filters: &mut Filters) {
        replace(&mut filters.latent, self.weights);
        match (self.offsets, &mut filters.norm, &mut filters.bias) {
            (Offsets::Norm { scale, shift, mean, variance }, Some(norm), _) => {
                let parts = [&mut norm.scale, &mut norm.shift, &mut norm.mean, &mut norm.variance];
                parts.into_iter().zip([scale, shift, mean, variance]).for_each(|(param, values)| replace(param, values));
            }
            (Offsets::Bias(values), _, Some(bias)) => replace(bias, values),
            _ => unreachable!("read for a layer of this form"),
        }
    }
}

fn replace<const D: usize>(param: &mut Param<Tensor<D>>, values: Vec<f32>) {
    let trained = param.is_require_grad();
    *param = param.clone().map(|old| {
        let new = Tensor::from_data(TensorData::new(values, old.shape()), &old.device());
        new.set_require_grad(trained)
    });
}
