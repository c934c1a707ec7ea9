//! AMX: `tdpbusd` and `tdpbuud` on tiles of up to 16 positions × 64 bytes and 64 bytes × 16 filters.
//!
//! [`grid`] cuts a layer into tiles that lie within one row of the output, so that the windows of a tile stand at equal
//! distances and are read where they are. A window is read in [`steps`] of 64 bytes; where a step has fewer inputs, what
//! follows them is multiplied by 0. Two tiles of positions, one below the other, times 32 filters stay in tiles.
//! [`convolution`] drives this, [`tiles`] has the instructions, [`weights`] what they multiply.

mod convolution;
mod finish;
mod fold;
mod grid;
mod permission;
mod steps;
mod tiles;
mod weights;

pub(super) use permission::available;

use super::{
    super::{Convolution, Kernel, Work, moves},
    depthwise::Depthwise,
};
use crate::engine::{
    Mode,
    layout::{Layout, Map},
};

/// The tiles of this thread, whole, until the result is dropped.
///
/// # Safety
/// As [`tiles::Configuration::load`].
pub(super) unsafe fn whole_tiles() -> tiles::Tiles {
    // SAFETY: promised by the caller.
    unsafe { tiles::Configuration::new(grid::ROWS, tiles::GROUPS).load() }
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

    fn layout(&self) -> Layout {
        Layout::Interleaved
    }

    fn pools(&self) -> bool {
        true
    }

    fn convolution(&self, convolution: Convolution<'_>) -> Box<dyn Work> {
        Box::new(convolution::Tiled::new(convolution))
    }

    fn depthwise(&self, convolution: Convolution<'_>) -> Box<dyn Work> {
        Box::new(Depthwise::new(convolution))
    }

    fn max_pool(&self, input: Map, output: Map) -> Box<dyn Work> {
        moves::max_pool(input, output)
    }
}
