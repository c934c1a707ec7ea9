//! From metadata and named tensors to a model.

use super::{
    BinaryWeights, FORMAT, FORMAT_VERSION, FullWeights, LayerWeights, Model, ModelError, Preprocessing, Provenance,
    Quantization, TensorError,
    checksum::checksum,
    container::{Container, Tensor},
    encode::name,
    key,
    weight_shape::{WeightShape, weights_per_filter},
};
use crate::network::Network;
use bytes::Bytes;
use safetensors::Dtype;
use serde::de::DeserializeOwned;
use std::{collections::BTreeMap, mem::size_of, panic::resume_unwind, thread};

/// What `prepare` makes of the model that the container holds, every part of it checked.
///
/// The checksum comes last, so that a file which is wrong for a reason is told that reason. It is computed meanwhile, on a
/// thread of its own: it takes longer than all that is read and checked.
pub(super) fn decode<T>(container: &Container, prepare: impl FnOnce(Model) -> T) -> Result<T, ModelError> {
    thread::scope(|scope| {
        let beside = thread::Builder::new().spawn_scoped(scope, || checksum(container));
        let (model, stated) = read(container)?;
        let prepared = prepare(model);
        let computed = match beside {
            Ok(beside) => beside.join().unwrap_or_else(|panic| resume_unwind(panic)),
            Err(_) => checksum(container), // the system has no thread to spare
        };
        if computed == stated { Ok(prepared) } else { Err(ModelError::Checksum { stated: stated.into(), computed }) }
    })
}

/// The model, and the checksum that the container states.
fn read(container: &Container) -> Result<(Model, &str), ModelError> {
    let Metadata { network, preprocessing, provenance, sha256 } = Metadata::read(&container.metadata)?;
    let mut tensors = Tensors::new(container);
    let weights = (0..network.layers().len()).map(|index| tensors.layer(&network, index)).collect::<Result<_, _>>()?;
    let quantization = tensors.quantization(network.layers().len())?;
    tensors.finish()?;
    let model = Model { network, weights, quantization, preprocessing, provenance };
    model.check()?;
    Ok((model, sha256))
}

/// The metadata's entries, each read.
struct Metadata<'a> {
    network: Network,
    preprocessing: Preprocessing,
    provenance: Provenance,
    sha256: &'a str,
}

impl<'a> Metadata<'a> {
    fn read(entries: &'a BTreeMap<String, String>) -> Result<Self, ModelError> {
        let entry = |key| entries.get(key).ok_or_else(|| ModelError::metadata(key, "missing"));
        let format = entry(key::FORMAT)?;
        if format != FORMAT {
            return Err(ModelError::metadata(key::FORMAT, format!("'{format}', must be '{FORMAT}'")));
        }
        let version = entry(key::FORMAT_VERSION)?;
        if version != FORMAT_VERSION {
            return Err(ModelError::Version(version.clone()));
        }
        if let Some(key) = entries.keys().find(|key| !key::ALL.contains(&key.as_str())) {
            return Err(ModelError::metadata(key, "the format has no such entry"));
        }
        Ok(Self {
            network: from_json(key::NETWORK, entry(key::NETWORK)?)?,
            preprocessing: from_json(key::PREPROCESSING, entry(key::PREPROCESSING)?)?,
            provenance: from_json(key::PROVENANCE, entry(key::PROVENANCE)?)?,
            sha256: entry(key::SHA256)?,
        })
    }
}

fn from_json<T: DeserializeOwned>(key: &str, text: &str) -> Result<T, ModelError> {
    serde_json::from_str(text).map_err(|e| ModelError::metadata(key, e))
}

/// What is left to be read.
struct Tensors<'a> {
    left: BTreeMap<&'a str, &'a Tensor>,
}

impl<'a> Tensors<'a> {
    fn new(container: &'a Container) -> Self {
        Self { left: container.tensors.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect() }
    }

    fn layer(&mut self, network: &Network, index: usize) -> Result<LayerWeights, ModelError> {
        let layer = &network.layers()[index].name;
        Ok(match WeightShape::of(network, index) {
            WeightShape::None => LayerWeights::None,
            WeightShape::Binary { shape, .. } => LayerWeights::Binary(BinaryWeights {
                bits: self.bits(&name::bits(layer), &[shape[0], BinaryWeights::row_bytes(weights_per_filter(shape))])?,
                inputs: weights_per_filter(shape),
                scale: self.floats(&name::scale(layer), &shape[..1])?,
                bias: self.floats(&name::bias(layer), &shape[..1])?,
            }),
            WeightShape::Full { shape } => LayerWeights::Full(FullWeights {
                weights: self.floats(&name::weight(layer), &shape)?,
                inputs: weights_per_filter(shape),
                bias: self.floats(&name::bias(layer), &shape[..1])?,
            }),
        })
    }

    /// Both tensors or neither.
    fn quantization(&mut self, layers: usize) -> Result<Option<Vec<Quantization>>, ModelError> {
        if ![name::ACTIVATION_SCALE, name::ACTIVATION_ZERO_POINT].iter().any(|name| self.left.contains_key(*name)) {
            return Ok(None);
        }
        let scales = self.floats(name::ACTIVATION_SCALE, &[layers])?;
        let zero_points = &self.take(name::ACTIVATION_ZERO_POINT, Dtype::U8, &[layers])?.data;
        let ranges = scales.into_iter().zip(zero_points.iter().copied());
        Ok(Some(ranges.map(|(scale, zero_point)| Quantization { scale, zero_point }).collect()))
    }

    fn bits(&mut self, name: &str, shape: &[usize]) -> Result<Bytes, ModelError> {
        Ok(self.take(name, Dtype::U8, shape)?.data.clone())
    }

    fn floats(&mut self, name: &str, shape: &[usize]) -> Result<Vec<f32>, ModelError> {
        let tensor = self.take(name, Dtype::F32, shape)?;
        let (values, _) = tensor.data.as_chunks::<{ size_of::<f32>() }>();
        Ok(values.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect())
    }

    /// The container has compared shape and bytes, so what comes back is as long as its shape says.
    fn take(&mut self, name: &str, dtype: Dtype, shape: &[usize]) -> Result<&'a Tensor, ModelError> {
        let tensor = self.left.remove(name).ok_or_else(|| TensorError::Missing.of(name))?;
        if tensor.dtype != dtype {
            return Err(TensorError::Dtype { expected: dtype, found: tensor.dtype }.of(name));
        }
        if tensor.shape != shape {
            return Err(TensorError::Shape { expected: shape.to_vec(), found: tensor.shape.clone() }.of(name));
        }
        Ok(tensor)
    }

    fn finish(self) -> Result<(), ModelError> {
        match self.left.keys().next() {
            Some(name) => Err(TensorError::Unexpected.of(name)),
            None => Ok(()),
        }
    }
}
