//! Darknet's `.weights` files (`parser.c`: `load_weights_upto`, `load_convolutional_weights`).
//!
//! A header: major, minor and revision as `i32`, then the pictures seen in training, a `u64`, before version 0.2 a `u32`.
//! Then `f32` values, everything little endian, for each convolution in the order of the configuration file: bias
//! (batch norm's shift), where there is batch norm its scale, running mean and running variance, then the weights
//! `[filters, channels / groups, kernel, kernel]`. Nothing tells names or shapes.

use super::{Contents, LayerValues, Offsets, Reason, Slot};

/// Later versions are unknown; files of 1000 and above have transposed matrices.
const MAX_VERSION: i32 = 9;

pub(super) fn read(bytes: &[u8], slots: &[Slot]) -> Result<Contents, Reason> {
    let values = values(bytes)?;
    let (count, left_out) = layers_within(values.len(), slots)?;
    let mut rest = values.into_iter();
    let layers = slots[..count].iter().map(|slot| layer(slot, &mut rest)).collect();
    Ok(Contents { layers, left_out })
}

/// The values behind the header.
fn values(bytes: &[u8]) -> Result<Vec<f32>, Reason> {
    let wrong = |reason: String| Err(Reason::NotDarknet(reason));
    let (words, _) = bytes.as_chunks::<4>();
    let [major, minor, revision, ..] = *words else {
        return wrong(format!("{} bytes, less than a header", bytes.len()));
    };
    let [major, minor, revision] = [major, minor, revision].map(i32::from_le_bytes);
    if ![major, minor].iter().all(|part| (0..=MAX_VERSION).contains(part)) {
        return wrong(format!("version {major}.{minor}.{revision}, known are those up to {MAX_VERSION}.{MAX_VERSION}"));
    }
    let seen = if major * 10 + minor >= 2 { 8 } else { 4 };
    let Some(body) = bytes.get(12 + seen..) else {
        return wrong(format!("{} bytes, less than a header", bytes.len()));
    };
    match body.as_chunks::<4>() {
        (words, []) => Ok(words.iter().map(|word| f32::from_le_bytes(*word)).collect()),
        (words, part) => wrong(format!("{} values and {} bytes of one more", words.len(), part.len())),
    }
}

/// How many layers so many values fill, and how many outputs a last layer has that is not the network's.
fn layers_within(found: usize, slots: &[Slot]) -> Result<(usize, Option<usize>), Reason> {
    let end_of = |total: &mut usize, slot: &Slot| {
        *total += slot.values();
        Some(*total)
    };
    let ends: Vec<usize> = slots.iter().scan(0, end_of).collect();
    let whole = ends.iter().take_while(|end| **end <= found).count();
    if whole > 0 && ends[whole - 1] == found {
        return Ok((whole, None));
    }
    if let ([_, .., last], [.., before, _]) = (slots, ends.as_slice()) {
        let of_last = found.saturating_sub(*before);
        if of_last > 0 && of_last.is_multiple_of(last.values_of_a_filter()) {
            return Ok((slots.len() - 1, Some(of_last / last.values_of_a_filter())));
        }
    }
    let end = |index: usize| Some((slots.get(index)?.name.clone(), ends[index]));
    Err(Reason::Length { found, below: whole.checked_sub(1).and_then(end), above: end(whole) })
}

fn layer(slot: &Slot, values: &mut impl Iterator<Item = f32>) -> LayerValues {
    let [filters, ..] = slot.shape;
    let mut take = |count: usize| -> Vec<f32> { values.take(count).collect() };
    let shift = take(filters);
    let offsets = if slot.batch_norm {
        Offsets::Norm { shift, scale: take(filters), mean: take(filters), variance: take(filters) }
    } else {
        Offsets::Bias(shift)
    };
    LayerValues { offsets, weights: take(slot.shape.iter().product()) }
}
