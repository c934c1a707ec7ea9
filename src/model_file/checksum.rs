//! The checksum of a model: SHA-256 over metadata and tensors, independent of how the file is laid out.

use super::{container::Container, key};
use sha2::{Digest, Sha256};

/// Hexadecimal SHA-256 over key and value of each metadata entry but the checksum itself, then name and bytes of each
/// tensor; both in the order of their names, each item after its length (64 bits, little endian).
///
/// Types and shapes of the tensors are not in it: they follow from the network, which is.
pub(super) fn checksum(container: &Container) -> String {
    let mut digest = Sha256::new();
    let mut add = |item: &[u8]| {
        digest.update((item.len() as u64).to_le_bytes());
        digest.update(item);
    };
    for (key, value) in container.metadata.iter().filter(|(key, _)| *key != key::SHA256) {
        add(key.as_bytes());
        add(value.as_bytes());
    }
    for (name, tensor) in &container.tensors {
        add(name.as_bytes());
        add(&tensor.data);
    }
    digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}
