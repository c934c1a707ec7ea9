//! Model files taken apart and put together again, independently of the product: by the crate `safetensors` and the
//! checksum as `docs/model-format.md` describes it.

use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// The contents of a model file, to be changed by a test.
#[derive(Clone)]
pub(crate) struct Parts {
    pub(crate) metadata: BTreeMap<String, String>,
    pub(crate) tensors: BTreeMap<String, Part>,
}

#[derive(Clone)]
pub(crate) struct Part {
    pub(crate) dtype: Dtype,
    pub(crate) shape: Vec<usize>,
    pub(crate) data: Vec<u8>,
}

impl Parts {
    pub(crate) fn of(file: &[u8]) -> Self {
        let (_, header) = SafeTensors::read_metadata(file).unwrap();
        let tensors = SafeTensors::deserialize(file).unwrap();
        let part = |(name, view): (&str, TensorView<'_>)| {
            let part = Part { dtype: view.dtype(), shape: view.shape().to_vec(), data: view.data().to_vec() };
            (name.to_owned(), part)
        };
        Self {
            metadata: header.metadata().clone().unwrap().into_iter().collect(),
            tensors: tensors.iter().map(part).collect(),
        }
    }

    /// Puts the right checksum in.
    pub(crate) fn seal(&mut self) {
        let mut digest = Sha256::new();
        let metadata = self.metadata.iter().filter(|(key, _)| *key != "sha256");
        let items = metadata.map(|(key, value)| (key, value.as_bytes()));
        for (name, data) in items.chain(self.tensors.iter().map(|(name, part)| (name, part.data.as_slice()))) {
            for item in [name.as_bytes(), data] {
                digest.update((item.len() as u64).to_le_bytes());
                digest.update(item);
            }
        }
        let sum = digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        self.metadata.insert("sha256".into(), sum);
    }

    pub(crate) fn file(&self) -> Vec<u8> {
        let view = |part| {
            let Part { dtype, shape, data }: &Part = part;
            TensorView::new(*dtype, shape.clone(), data).unwrap()
        };
        let tensors = self.tensors.iter().map(|(name, part)| (name, view(part)));
        safetensors::serialize(tensors, Some(self.metadata.clone().into_iter().collect())).unwrap()
    }
}
