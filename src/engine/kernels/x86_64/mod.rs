//! Kernels for x86-64, with one file for each family and instruction set: dot products of activation bytes, in registers
//! driven by [`dense`] or in the tiles of [`amx`], and tables of partial sums, driven by [`tables`](super::tables).

mod amx;
mod avx2;
mod avx2_tables;
mod avx512;
mod avx512_floats;
mod avx512_image;
mod avx512_registers;
mod avx512_tables;
mod build;
mod bytes;
mod depthwise;
mod peak;
mod shared;
mod steps;

use super::{
    Convolution, Family, Kernel, Work,
    dense::{self, Dot},
    moves, pack,
    tables::TableKernel,
};
use crate::engine::{
    Mode,
    arithmetic::Weights,
    layout::{Layout, Map},
};
use depthwise::{Avx2, Depthwise};
use std::marker::PhantomData;

pub(super) use peak::bursts;

/// The kernels, the preferred first.
pub(super) const KERNELS: &[&dyn Kernel] = &[
    &amx::Amx,
    &amx::AmxPlanes,
    &avx512_registers::Tables,
    &DotKernel::<avx512::Bytes, avx512::Words>::new("avx512-vnni", avx512::available),
    &DotKernel::<avx2::VnniBytes, avx2::Words>::new("avx-vnni", avx2::vnni_available),
    &DotKernel::<avx2::Bytes, avx2::Words>::new("avx2", avx2::available),
    &TableKernel::<avx512_tables::Floats, avx512_tables::Words>::new(
        "avx512-tables",
        Family::Tables,
        avx512_tables::available,
    ),
    &TableKernel::<avx2_tables::Floats, avx2_tables::Words>::new("avx2-tables", Family::Tables, avx2::available),
];

/// int8 mode by dot products: of `Bytes` for binary weights, of `Words` for full-precision ones.
struct DotKernel<Bytes, Words> {
    name: &'static str,
    available: fn() -> bool,
    dots: PhantomData<(Bytes, Words)>,
}

impl<Bytes, Words> DotKernel<Bytes, Words> {
    const fn new(name: &'static str, available: fn() -> bool) -> Self {
        Self { name, available, dots: PhantomData }
    }
}

impl<Bytes: Dot, Words: Dot> Kernel for DotKernel<Bytes, Words> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn runs(&self, mode: Mode) -> bool {
        mode == Mode::Int8 && avx2::available() && (self.available)()
    }

    fn family(&self) -> Family {
        Family::Dots
    }

    fn layout(&self) -> Layout {
        Layout::Interleaved
    }

    fn convolution(&self, convolution: Convolution<'_>) -> Box<dyn Work> {
        match convolution.weights {
            Weights::Bits(_) => Bytes::convolution(convolution),
            _ => Words::convolution(convolution),
        }
    }

    fn depthwise(&self, convolution: Convolution<'_>) -> Box<dyn Work> {
        Box::new(Depthwise::<Avx2>::new(convolution))
    }

    fn max_pool(&self, input: Map, output: Map) -> Box<dyn Work> {
        moves::max_pool(input, output)
    }
}
