//! Weights in a safetensors file, named after the layers in PyTorch's terms: `L.weight`, and `L.norm.weight`,
//! `L.norm.bias`, `L.norm.running_mean`, `L.norm.running_var` where layer `L` has batch norm, else `L.bias`.

use super::{Contents, LayerValues, Offsets, Reason, Slot};
use safetensors::{Dtype, SafeTensors};

/// PyTorch counts batches beside batch norm's statistics; nothing here needs the number.
const COUNTER: &str = ".num_batches_tracked";

pub(super) fn read(bytes: &[u8], slots: &[Slot]) -> Result<Contents, Reason> {
    let file = SafeTensors::deserialize(bytes).map_err(|e| Reason::NotSafetensors(e.to_string()))?;
    let is_there = |slot: &&Slot| names(slot).iter().any(|name| file.tensor(name).is_ok());
    let filled = slots.iter().take_while(is_there).count();
    let gap = slots[filled..].iter().any(|slot| is_there(&slot)); // tensors of a layer behind one that has none
    check_names(&file, slots)?;
    if filled == 0 || gap {
        return Err(missing(&slots[filled], &weight(&slots[filled])));
    }
    let left_out = if filled > 1 && filled == slots.len() { other_outputs(&file, &slots[filled - 1]) } else { None };
    let used = &slots[..filled - usize::from(left_out.is_some())];
    let layers = used.iter().map(|slot| layer(&file, slot)).collect::<Result<_, _>>()?;
    Ok(Contents { layers, left_out })
}

fn weight(slot: &Slot) -> String {
    format!("{}.weight", slot.name)
}

fn norm(slot: &Slot) -> [String; 4] {
    ["weight", "bias", "running_mean", "running_var"].map(|part| format!("{}.norm.{part}", slot.name))
}

fn bias(slot: &Slot) -> String {
    format!("{}.bias", slot.name)
}

/// Of every tensor of a layer.
fn names(slot: &Slot) -> Vec<String> {
    let mut names = vec![weight(slot)];
    if slot.batch_norm {
        names.extend(norm(slot))
    } else {
        names.push(bias(slot))
    }
    names
}

fn check_names(file: &SafeTensors<'_>, slots: &[Slot]) -> Result<(), Reason> {
    let known: Vec<_> = slots.iter().flat_map(names).collect();
    let is_unused = |name: &String| !known.contains(name) && !name.ends_with(COUNTER);
    let mut tensors: Vec<String> = file.names().into_iter().map(str::to_owned).filter(is_unused).collect();
    tensors.sort();
    if tensors.is_empty() { Ok(()) } else { Err(Reason::Unused { tensors, example: weight(&slots[0]) }) }
}

/// The outputs of the file's last layer, if only their number is not the network's.
fn other_outputs(file: &SafeTensors<'_>, slot: &Slot) -> Option<usize> {
    let tensor = file.tensor(&weight(slot)).ok()?;
    match (tensor.shape(), slot.shape) {
        ([outputs, rest @ ..], [own, own_rest @ ..]) if *outputs != own && *rest == own_rest => Some(*outputs),
        _ => None,
    }
}

fn layer(file: &SafeTensors<'_>, slot: &Slot) -> Result<LayerValues, Reason> {
    let [filters, ..] = slot.shape;
    let vector = |name: &String| values(file, slot, name, &[filters]);
    let offsets = if slot.batch_norm {
        let [scale, shift, mean, variance] = &norm(slot);
        Offsets::Norm { scale: vector(scale)?, shift: vector(shift)?, mean: vector(mean)?, variance: vector(variance)? }
    } else {
        Offsets::Bias(vector(&bias(slot))?)
    };
    Ok(LayerValues { weights: values(file, slot, &weight(slot), &slot.shape)?, offsets })
}

fn values(file: &SafeTensors<'_>, slot: &Slot, name: &str, expected: &[usize]) -> Result<Vec<f32>, Reason> {
    let tensor = file.tensor(name).map_err(|_| missing(slot, name))?;
    if tensor.dtype() != Dtype::F32 {
        return Err(Reason::Type { tensor: name.into(), found: tensor.dtype().to_string() });
    }
    if tensor.shape() != expected {
        return Err(Reason::Shape { tensor: name.into(), found: tensor.shape().into(), expected: expected.into() });
    }
    let (words, _) = tensor.data().as_chunks::<4>(); // whole ones: the container is checked
    Ok(words.iter().map(|word| f32::from_le_bytes(*word)).collect())
}

fn missing(slot: &Slot, tensor: &str) -> Reason {
    let shape = if *tensor == weight(slot) { slot.shape.to_vec() } else { vec![slot.shape[0]] };
    Reason::Missing { tensor: tensor.into(), shape }
}
