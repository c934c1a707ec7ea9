//! Tables of partial sums that stand in two registers, with AVX-512: lanes are filters.
//!
//! [`regions`] cuts a layer, [`build`] makes the tables, [`indexes`] turns weights into what is looked up, [`lookup`] has the
//! innermost loops, [`convolution`] drives them. Layers that have too few filters for that are summed as by `avx512-vnni`.

mod build;
mod convolution;
mod indexes;
mod lookup;
mod regions;
mod sums;
#[cfg(test)]
mod tests;

use super::{
    super::{Convolution, Kernel, Work, moves},
    avx512,
    avx512_image::Image,
    dense::Dot,
    depthwise::{Avx512, Depthwise},
};
use crate::{
    engine::{
        Mode,
        arithmetic::Weights,
        layout::{Layout, Map},
    },
    network::{self, Source},
};
use convolution::Registers;
use lookup::{One, Three};

/// int8 mode by tables in registers, and by dot products where these are faster.
pub(super) struct Tables;

impl Kernel for Tables {
    fn name(&self) -> &'static str {
        "avx512-registers"
    }

    fn runs(&self, mode: Mode) -> bool {
        mode == Mode::Int8
            && avx512::available()
            && is_x86_feature_detected!("avx512vbmi")
            && is_x86_feature_detected!("avx512bitalg")
    }

    fn layout(&self) -> Layout {
        Layout::Interleaved
    }

    fn pools(&self, convolution: &network::Convolution, source: Source, _: Mode) -> bool {
        Image::pools(convolution, source)
    }

    fn convolution(&self, convolution: Convolution<'_>) -> Box<dyn Work> {
        let filters = convolution.output.shape.channels;
        match (&convolution.weights, convolution.kernel, convolution.stride) {
            (Weights::Bits(_), 3, 1) if filters >= 64 => Box::new(Registers::<Three>::new(convolution)),
            (Weights::Bits(_), 1, 1) if filters >= 128 => Box::new(Registers::<One>::new(convolution)),
            (Weights::Bits(_), ..) => avx512::Bytes::convolution(convolution),
            _ => avx512::Words::convolution(convolution),
        }
    }

    fn depthwise(&self, convolution: Convolution<'_>) -> Box<dyn Work> {
        Box::new(Depthwise::<Avx512>::new(convolution))
    }

    fn max_pool(&self, input: Map, output: Map) -> Box<dyn Work> {
        moves::max_pool(input, output)
    }
}
