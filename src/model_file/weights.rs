//! Weights of one layer as the file keeps them: batch norm folded, one scale and one bias for each filter.

use bytes::Bytes;

/// Weights of one layer.
#[derive(Clone, Debug, PartialEq)]
pub enum LayerWeights {
    /// The layer has none (pool, reorg, concatenation).
    None,
    /// One bit each.
    Binary(BinaryWeights),
    /// 32-bit floats; convolutions `[filters, channels, kernel, kernel]`, depthwise `[channels, 1, kernel, kernel]`.
    Full(FullWeights),
}

/// `y[f] = scale[f] · Σ ±x + bias[f]`; a bit of 1 is +1, of 0 is −1.
#[derive(Clone, Debug, PartialEq)]
pub struct BinaryWeights {
    /// Bytes `[filters, ceil(inputs / 8)]`. Within a filter the weights stand as `[channel, ky, kx]`, the first one in the
    /// lowest bit; the bits after the last weight are 0.
    pub bits: Bytes,
    /// Weights of one filter: `channels · kernel · kernel`.
    pub inputs: usize,
    /// One for each filter: the filter's α times the scale of its batch norm.
    pub scale: Vec<f32>,
    /// One for each filter.
    pub bias: Vec<f32>,
}

/// `y[f] = Σ weight[f]·x + bias[f]`.
#[derive(Clone, Debug, PartialEq)]
pub struct FullWeights {
    /// `[filters, inputs]` with the inputs of a filter as `[channel, ky, kx]`; the scale of its batch norm is in them.
    pub weights: Vec<f32>,
    /// Weights of one filter.
    pub inputs: usize,
    /// One for each filter.
    pub bias: Vec<f32>,
}

impl BinaryWeights {
    /// Packs the signs of `[filters, inputs]` latent weights; `sign(0) = +1`.
    pub fn pack(latent: &[f32], inputs: usize, scale: Vec<f32>, bias: Vec<f32>) -> Self {
        let mut bits = Vec::with_capacity(scale.len() * Self::row_bytes(inputs));
        for filter in latent.chunks_exact(inputs) {
            bits.extend(filter.chunks(8).map(|byte| byte.iter().rev().fold(0u8, |b, &w| b << 1 | u8::from(w >= 0.0))));
        }
        Self { bits: bits.into(), inputs, scale, bias }
    }

    /// Bytes of the bits of a filter with this number of weights.
    pub fn row_bytes(inputs: usize) -> usize {
        inputs.div_ceil(8)
    }

    /// Number of filters.
    pub fn filters(&self) -> usize {
        self.scale.len()
    }

    /// One filter's bits.
    pub fn row(&self, filter: usize) -> &[u8] {
        let bytes = Self::row_bytes(self.inputs);
        &self.bits[filter * bytes..(filter + 1) * bytes]
    }

    /// Is this weight +1 (else −1)? `input` counts as `[channel, ky, kx]`.
    pub fn is_positive(&self, filter: usize, input: usize) -> bool {
        self.row(filter)[input / 8] >> (input % 8) & 1 == 1
    }

    /// Sum of a filter's signs: weights +1 less weights −1.
    pub fn sign_sum(&self, filter: usize) -> i32 {
        // Eight bytes at a time: this is a good part of what loading a network takes.
        let (words, rest) = self.row(filter).as_chunks();
        let ones = |words: &[[u8; 8]]| -> u32 { words.iter().map(|&word| u64::from_le_bytes(word).count_ones()).sum() };
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        2 * (ones(words) + ones(&[last])) as i32 - self.inputs as i32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signs_are_packed_lowest_bit_first() {
        let latent = [
            0.5, -0.5, 0.0, -0.0, -1.0, 2.0, -3.0, 4.0, -5.0, 6.0, /**/ -1.0, -1.0, -1.0, -1.0, -1.0, -1.0, -1.0, -1.0,
            1.0, -1.0,
        ];
        let packed = BinaryWeights::pack(&latent, 10, vec![1.0; 2], vec![0.0; 2]);
        assert_eq!(packed.bits[..], [0b1010_1101, 0b10, 0b0, 0b01]);
        assert!(packed.is_positive(0, 9) && !packed.is_positive(1, 9) && packed.is_positive(1, 8));
        assert_eq!([0, 1].map(|filter| packed.sign_sum(filter)), [6 - 4, 1 - 9]);
    }

    #[test]
    fn signs_are_summed_in_rows_of_any_length() {
        for inputs in [1, 7, 8, 63, 64, 65, 200] {
            let latent: Vec<f32> = (0..inputs).map(|i| if i % 3 == 0 { 1.0 } else { -1.0 }).collect();
            let packed = BinaryWeights::pack(&latent, inputs, vec![1.0], vec![0.0]);
            assert_eq!(packed.sign_sum(0), latent.iter().sum::<f32>() as i32, "{inputs} inputs");
        }
    }
}
