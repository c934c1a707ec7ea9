//! Kernels for x86-64: dot products of activation bytes, with one driver ([`dense`]) and one file for each instruction set.

mod amx;
mod avx512;
mod dense;
mod pack;

use super::{Convolution, Kernel, Work, portable::Portable};
use crate::engine::{Mode, arithmetic::Weights, layout::Layout};
use dense::{Dense, Dot};

/// The kernels, the preferred first.
pub(super) const KERNELS: &[&dyn Kernel] = &[&Amx, &Vnni];

/// `vpdpbusd` on 512-bit registers.
struct Vnni;

impl Kernel for Vnni {
    fn name(&self) -> &'static str {
        "avx512-vnni"
    }

    fn runs(&self, mode: Mode) -> bool {
        mode == Mode::Int8 && avx512::available()
    }

    fn layout(&self) -> Layout {
        Layout::Interleaved
    }

    fn convolution(&self, convolution: Convolution<'_>) -> Box<dyn Work> {
        dense::<avx512::Bytes, avx512::Words>(convolution)
    }

    fn depthwise(&self, convolution: Convolution<'_>) -> Box<dyn Work> {
        Portable.depthwise(convolution)
    }
}

/// `tdpbusd` on tiles; words and floats as [`Vnni`].
struct Amx;

impl Kernel for Amx {
    fn name(&self) -> &'static str {
        "amx-int8"
    }

    fn runs(&self, mode: Mode) -> bool {
        mode == Mode::Int8 && amx::available()
    }

    fn layout(&self) -> Layout {
        Layout::Interleaved
    }

    fn convolution(&self, convolution: Convolution<'_>) -> Box<dyn Work> {
        dense::<amx::Tiles, avx512::Words>(convolution)
    }

    fn depthwise(&self, convolution: Convolution<'_>) -> Box<dyn Work> {
        Portable.depthwise(convolution)
    }
}

/// A dense convolution over bits or words.
fn dense<Bytes: Dot, Words: Dot>(convolution: Convolution<'_>) -> Box<dyn Work> {
    match convolution.weights {
        Weights::Bits(_) => Box::new(Dense::<Bytes>::new(convolution)),
        _ => Box::new(Dense::<Words>::new(convolution)),
    }
}
