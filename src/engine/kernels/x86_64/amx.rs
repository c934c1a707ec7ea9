//! AMX: `tdpbusd` and `tdpbuud` on tiles of up to 16 positions × 64 bytes and 64 bytes × 16 filters.
//!
//! [`grid`] cuts a layer into tiles that lie within one row of the output, so that the windows of a tile stand at equal
//! distances and are read where they are. A window is read in [`steps`] of 64 bytes; where a step has fewer inputs, what
//! follows them is multiplied by 0. Two tiles of positions, one below the other, times 32 filters stay in tiles.
//! [`convolution`] drives this, [`tiles`] has the instructions, [`weights`] what they multiply.
//!
//! In f32 mode the input of a binary convolution is written as three [`planes`] of bytes before.

mod convolution;
mod finish;
mod fold;
mod grid;
mod permission;
mod planes;
mod steps;
mod tiles;
mod weights;

pub(super) use permission::available;

use super::{
    super::{Convolution, Family, Kernel, Work, moves},
    avx512_floats,
    depthwise::{Avx2, Depthwise},
};
use crate::{
    engine::{
        Mode,
        arithmetic::Weights,
        layout::{Layout, Map},
    },
    network::{self, Precision, Shape, Source},
};
use planes::Planes;

/// The tiles of this thread, whole, until the result is dropped.
///
/// # Safety
/// As [`tiles::Configuration::load`].
pub(super) unsafe fn whole_tiles() -> tiles::Tiles {
    // SAFETY: promised by the caller.
    unsafe { tiles::Configuration::new(grid::ROWS, tiles::GROUPS).load() }
}

/// f32 mode on AMX tiles: binary weights times floats in three planes of bytes; the other convolutions on AVX-512.
pub(super) struct AmxPlanes;

impl Kernel for AmxPlanes {
    fn name(&self) -> &'static str {
        "amx-planes"
    }

    fn runs(&self, mode: Mode) -> bool {
        mode == Mode::F32 && permission::available()
    }

    fn family(&self) -> Family {
        Family::Tiles
    }

    fn layout(&self) -> Layout {
        Layout::Interleaved
    }

    fn pools(&self, _: &network::Convolution, _: Source, _: Mode) -> bool {
        true
    }

    fn scratch(&self, precision: Precision, kernel: usize, input: Shape) -> usize {
        match precision {
            Precision::Binary => Planes::bytes(input, kernel / 2),
            Precision::Full => 0,
        }
    }

    fn preparations(&self, convolution: &Convolution<'_>) -> Vec<Box<dyn Work>> {
        match convolution.weights {
            Weights::Bits(_) => Planes::of(convolution).works(&convolution.input),
            _ => Vec::new(),
        }
    }

    fn convolution(&self, convolution: Convolution<'_>) -> Box<dyn Work> {
        match convolution.weights {
            Weights::Bits(_) => Box::new(convolution::Tiled::new(convolution)),
            _ => Box::new(avx512_floats::Dense::new(convolution)),
        }
    }

    fn depthwise(&self, convolution: Convolution<'_>) -> Box<dyn Work> {
        Box::new(avx512_floats::Depthwise::new(convolution))
    }

    fn max_pool(&self, input: Map, output: Map) -> Box<dyn Work> {
        moves::max_pool(input, output)
    }
}

/// int8 mode on AMX tiles; depthwise convolutions on AVX2.
pub(super) struct Amx;

impl Kernel for Amx {
    fn name(&self) -> &'static str {
        "amx-int8"
    }

    fn runs(&self, mode: Mode) -> bool {
        mode == Mode::Int8 && permission::available()
    }

    fn family(&self) -> Family {
        Family::Tiles
    }

    fn layout(&self) -> Layout {
        Layout::Interleaved
    }

    fn pools(&self, _: &network::Convolution, _: Source, _: Mode) -> bool {
        true
    }

    fn convolution(&self, convolution: Convolution<'_>) -> Box<dyn Work> {
        Box::new(convolution::Tiled::new(convolution))
    }

    fn depthwise(&self, convolution: Convolution<'_>) -> Box<dyn Work> {
        Box::new(Depthwise::<Avx2>::new(convolution))
    }

    fn max_pool(&self, input: Map, output: Map) -> Box<dyn Work> {
        moves::max_pool(input, output)
    }
}
