//! The instructions. They are written as assembly: their intrinsics are not stable.

use super::{
    super::{dense::Sums, pack::Group},
    grid::ROWS,
    steps::STEP,
};
use std::arch::asm;

/// Groups of inputs of a step.
pub(super) const GROUPS: usize = STEP / 4;

/// The operand of `ldtilecfg`. Tiles 0 to 3 hold sums, 4 and 5 inputs, 6 and 7 weights.
#[repr(C, align(64))]
pub(super) struct Configuration {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    row_bytes: [u16; 16],
    rows: [u8; 16],
}

impl Configuration {
    /// Tiles of so many positions, and of so many groups of inputs.
    pub(super) fn new(positions: usize, groups: usize) -> Self {
        assert!((1..=ROWS).contains(&positions), "a tile has 1 to 16 rows");
        assert!((1..=GROUPS).contains(&groups), "a step has 1 to 16 groups");
        let (mut row_bytes, mut rows) = ([0; 16], [0; 16]);
        row_bytes[..8].fill(STEP as u16);
        row_bytes[4..6].fill(4 * groups as u16);
        rows[..6].fill(positions as u8);
        rows[6..8].fill(groups as u8);
        Self { palette: 1, start_row: 0, reserved: [0; 14], row_bytes, rows }
    }

    /// Configures the tiles of this thread.
    ///
    /// # Safety
    /// The process may use tiles, and nobody else uses those of this thread while the result lives.
    pub(super) unsafe fn load(&self) -> Tiles {
        // SAFETY: promised by the caller.
        unsafe { asm!("ldtilecfg [{}]", in(reg) self, options(nostack, readonly)) };
        Tiles
    }
}

/// The tiles of this thread, configured.
pub(in crate::engine::kernels::x86_64) struct Tiles;

impl Drop for Tiles {
    fn drop(&mut self) {
        // SAFETY: they were configured. Tiles in use would slow down every switch of threads.
        unsafe { asm!("tilerelease", options(nostack, nomem)) };
    }
}

/// Some tiles of windows and where their sums go.
#[derive(Clone, Copy)]
pub(super) struct Operands {
    /// The first window of the first tile.
    pub(super) window: *const u8,
    /// From a window to the next.
    pub(super) distance: usize,
    /// From a window to the one below.
    pub(super) below: usize,
    pub(super) sums: *mut Sums,
    /// From the sums of a window to those of the one below.
    pub(super) sums_below: usize,
    /// Are the bytes of the windows signed?
    pub(super) signed: bool,
}

impl Tiles {
    /// Adds to `sums` the products of two tiles of windows, one below the other, and weights of ±1 (or 0). The first
    /// chunk finds no sums there. `offsets` has a step each, from the start of a window.
    ///
    /// # Safety
    /// 64 bytes can be read at every step of every window, there are [`GROUPS`] groups for each step, and the sums can be
    /// written, and read unless this is the first chunk. There is at least one step.
    pub(super) unsafe fn add_two(&self, operands: Operands, offsets: &[usize], weights: *const Group, first: bool) {
        let Operands { window, distance, below, sums, sums_below, signed } = operands;
        // Two products in a row share their weights: that costs less than sharing their inputs.
        macro_rules! products {
            ($dot:literal) => {
                asm!(
                    "2:",
                    "mov {at}, [{offset}]",
                    "add {at}, {window}",
                    "tileloadd tmm6, [{weights} + {pitch}]",
                    "tileloadd tmm4, [{at} + {distance}]",
                    concat!($dot, " tmm0, tmm4, tmm6"),
                    "add {at}, {below}",
                    "tileloadd tmm5, [{at} + {distance}]",
                    concat!($dot, " tmm2, tmm5, tmm6"),
                    "tileloadd tmm7, [{weights} + {pitch} + 64]",
                    concat!($dot, " tmm3, tmm5, tmm7"),
                    concat!($dot, " tmm1, tmm4, tmm7"),
                    "add {weights}, 2048",
                    "add {offset}, 8",
                    "cmp {offset}, {end}",
                    "jne 2b",
                    at = out(reg) _,
                    offset = inout(reg) offsets.as_ptr() => _,
                    end = in(reg) offsets.as_ptr_range().end,
                    weights = inout(reg) weights => _,
                    window = in(reg) window,
                    below = in(reg) below,
                    distance = in(reg) distance,
                    pitch = in(reg) size_of::<Group>(),
                    options(nostack, readonly)
                )
            };
        }
        // SAFETY: promised by the caller; the tiles are as large as the configuration says.
        unsafe {
            let lower = sums.add(sums_below);
            if first {
                asm!("tilezero tmm0", "tilezero tmm1", "tilezero tmm2", "tilezero tmm3", options(nostack, nomem));
            } else {
                asm!(
                    "tileloadd tmm0, [{upper} + {pitch}]",
                    "tileloadd tmm1, [{upper} + {pitch} + 64]",
                    "tileloadd tmm2, [{lower} + {pitch}]",
                    "tileloadd tmm3, [{lower} + {pitch} + 64]",
                    upper = in(reg) sums, lower = in(reg) lower, pitch = in(reg) size_of::<Sums>(),
                    options(nostack, readonly)
                );
            }
            match signed {
                false => products!("tdpbusd"),
                true => products!("tdpbssd"),
            }
            asm!(
                "tilestored [{upper} + {pitch}], tmm0",
                "tilestored [{upper} + {pitch} + 64], tmm1",
                "tilestored [{lower} + {pitch}], tmm2",
                "tilestored [{lower} + {pitch} + 64], tmm3",
                upper = in(reg) sums, lower = in(reg) lower, pitch = in(reg) size_of::<Sums>(),
                options(nostack)
            );
        }
    }

    /// [`Tiles::add_two`] without the second tile.
    ///
    /// # Safety
    /// As there.
    pub(super) unsafe fn add_one(&self, operands: Operands, offsets: &[usize], weights: *const Group, first: bool) {
        let Operands { window, distance, sums, signed, .. } = operands;
        macro_rules! products {
            ($dot:literal) => {
                asm!(
                    "2:",
                    "mov {at}, [{offset}]",
                    "add {at}, {window}",
                    "tileloadd tmm4, [{at} + {distance}]",
                    "tileloadd tmm6, [{weights} + {pitch}]",
                    concat!($dot, " tmm0, tmm4, tmm6"),
                    "tileloadd tmm7, [{weights} + {pitch} + 64]",
                    concat!($dot, " tmm1, tmm4, tmm7"),
                    "add {weights}, 2048",
                    "add {offset}, 8",
                    "cmp {offset}, {end}",
                    "jne 2b",
                    at = out(reg) _,
                    offset = inout(reg) offsets.as_ptr() => _,
                    end = in(reg) offsets.as_ptr_range().end,
                    weights = inout(reg) weights => _,
                    window = in(reg) window,
                    distance = in(reg) distance,
                    pitch = in(reg) size_of::<Group>(),
                    options(nostack, readonly)
                )
            };
        }
        // SAFETY: as there.
        unsafe {
            if first {
                asm!("tilezero tmm0", "tilezero tmm1", options(nostack, nomem));
            } else {
                asm!(
                    "tileloadd tmm0, [{sums} + {pitch}]",
                    "tileloadd tmm1, [{sums} + {pitch} + 64]",
                    sums = in(reg) sums, pitch = in(reg) size_of::<Sums>(),
                    options(nostack, readonly)
                );
            }
            match signed {
                false => products!("tdpbusd"),
                true => products!("tdpbssd"),
            }
            asm!(
                "tilestored [{sums} + {pitch}], tmm0",
                "tilestored [{sums} + {pitch} + 64], tmm1",
                sums = in(reg) sums, pitch = in(reg) size_of::<Sums>(),
                options(nostack)
            );
        }
    }

    /// The products of one tile of windows and 16-bit weights: to `sums` those of the weights' high bytes, which are
    /// signed; those of the low ones, which are not, stay in tiles, and the last call's go to `last_low`. So no store
    /// waits for products that were begun just before it, and keeps others waiting. The groups of the high bytes come
    /// first, then those of the low ones.
    ///
    /// # Safety
    /// As for [`Tiles::add_two`], with twice as many groups; `last_low` can be written, even by the first call.
    pub(super) unsafe fn words(&self, operands: Operands, offsets: &[usize], weights: *const Group, last_low: *mut Sums) {
        let Operands { window, distance, sums, .. } = operands;
        macro_rules! products {
            ($dot:literal, $left:literal, $right:literal, $weights:expr) => {
                asm!(
                    concat!("tilezero ", $left),
                    concat!("tilezero ", $right),
                    "2:",
                    "mov {at}, [{offset}]",
                    "add {at}, {window}",
                    "tileloadd tmm4, [{at} + {distance}]",
                    "tileloadd tmm6, [{weights} + {pitch}]",
                    concat!($dot, " ", $left, ", tmm4, tmm6"),
                    "tileloadd tmm7, [{weights} + {pitch} + 64]",
                    concat!($dot, " ", $right, ", tmm4, tmm7"),
                    "add {weights}, 2048",
                    "add {offset}, 8",
                    "cmp {offset}, {end}",
                    "jne 2b",
                    at = out(reg) _,
                    offset = inout(reg) offsets.as_ptr() => _,
                    end = in(reg) offsets.as_ptr_range().end,
                    weights = inout(reg) $weights => _,
                    window = in(reg) window,
                    distance = in(reg) distance,
                    pitch = in(reg) size_of::<Group>(),
                    options(nostack, readonly)
                )
            };
        }
        // SAFETY: promised by the caller; the tiles are as large as the configuration says.
        unsafe {
            products!("tdpbusd", "tmm0", "tmm1", weights);
            self.store_low(last_low);
            products!("tdpbuud", "tmm2", "tmm3", weights.add(offsets.len() * GROUPS));
            asm!(
                "tilestored [{sums} + {pitch}], tmm0",
                "tilestored [{sums} + {pitch} + 64], tmm1",
                sums = in(reg) sums, pitch = in(reg) size_of::<Sums>(),
                options(nostack)
            );
        }
    }

    /// Stores what the last call of [`Tiles::words`] left.
    ///
    /// # Safety
    /// As there.
    pub(super) unsafe fn store_low(&self, last_low: *mut Sums) {
        // SAFETY: as there.
        unsafe {
            asm!(
                "tilestored [{sums} + {pitch}], tmm2",
                "tilestored [{sums} + {pitch} + 64], tmm3",
                sums = in(reg) last_low, pitch = in(reg) size_of::<Sums>(),
                options(nostack)
            );
        }
    }
}

const _: () = assert!(size_of::<Group>() == 128 && size_of::<Sums>() == 128);
