//! Kernels for x86-64, with one file for each family and instruction set: dot products of activation bytes, driven by
//! [`dense`], and tables of partial sums, driven by [`tables`](super::tables).

mod amx;
mod avx2;
mod avx2_tables;
mod avx512;
mod avx512_tables;
mod dense;
mod depthwise;
mod pack;

use super::{Convolution, Kernel, Work, moves, tables::TableKernel};
use crate::engine::{
    Mode,
    arithmetic::Weights,
    layout::{Layout, Map},
};
use dense::{Dense, Dot};
use depthwise::Depthwise;
use std::marker::PhantomData;

/// The kernels, the preferred first.
pub(super) const KERNELS: &[&dyn Kernel] = &[
    &DotKernel::<amx::Tiles, avx512::Bytes, avx512::Words>::new("amx-int8", amx::available),
    &DotKernel::<avx512::Bytes, avx512::Bytes, avx512::Words>::new("avx512-vnni", avx512::available),
    &DotKernel::<avx2::VnniBytes, avx2::VnniBytes, avx2::Words>::new("avx-vnni", avx2::vnni_available),
    &DotKernel::<avx2::Bytes, avx2::Bytes, avx2::Words>::new("avx2", avx2::available),
    &TableKernel::<avx512_tables::Floats, avx512_tables::Words>::new("avx512-tables", avx512_tables::available),
    &TableKernel::<avx2_tables::Floats, avx2_tables::Words>::new("avx2-tables", avx2::available),
];

/// int8 mode by dot products: of `Bytes` for binary weights (of `Narrow` where an input has too few channels to be read in
/// steps of the former), of `Words` for full-precision ones.
struct DotKernel<Bytes, Narrow, Words> {
    name: &'static str,
    available: fn() -> bool,
    dots: PhantomData<(Bytes, Narrow, Words)>,
}

impl<Bytes, Narrow, Words> DotKernel<Bytes, Narrow, Words> {
    const fn new(name: &'static str, available: fn() -> bool) -> Self {
        Self { name, available, dots: PhantomData }
    }
}

impl<Bytes: Dot, Narrow: Dot, Words: Dot> Kernel for DotKernel<Bytes, Narrow, Words> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn runs(&self, mode: Mode) -> bool {
        mode == Mode::Int8 && avx2::available() && (self.available)()
    }

    fn layout(&self) -> Layout {
        Layout::Interleaved
    }

    fn convolution(&self, convolution: Convolution<'_>) -> Box<dyn Work> {
        match convolution.weights {
            Weights::Bits(_) if convolution.input.shape.channels < Bytes::STEP => {
                Box::new(Dense::<Narrow>::new(convolution))
            }
            Weights::Bits(_) => Box::new(Dense::<Bytes>::new(convolution)),
            _ => Box::new(Dense::<Words>::new(convolution)),
        }
    }

    fn depthwise(&self, convolution: Convolution<'_>) -> Box<dyn Work> {
        Box::new(Depthwise::new(convolution))
    }

    fn max_pool(&self, input: Map, output: Map) -> Box<dyn Work> {
        moves::max_pool(input, output)
    }
}
