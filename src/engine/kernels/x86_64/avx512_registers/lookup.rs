//! The innermost loops: lookups in tables that stand in two registers, for 32 filters at once.
//!
//! A lookup is one instruction, `vpermi2w`, and one that adds what was found; a processor that can do two operations on
//! whole registers in a cycle, one of them a permutation, does both in a cycle. How close it comes depends on their order:
//! eight lookups, then eight additions. Compilers put each addition behind its lookup again, which takes a quarter more
//! time, so the loops are assembly.

use super::sums::Narrow;
use std::arch::{asm, x86_64::*};

/// Registers of 16-bit sums that a tile has.
pub(super) const REGISTERS: usize = 16;
/// Registers of indexes that are fetched before they are needed.
const AHEAD: usize = 12;

/// The tables of some groups of channels, each at the positions that a tile sees, one after the other.
#[derive(Clone, Copy)]
pub(super) struct Groups {
    pub(super) tables: *const u8,
    /// Bytes from a group's to the next one's.
    pub(super) stride: usize,
    pub(super) count: usize,
}

/// How a kind of convolution uses the registers of sums: positions times registers of 32 filters.
pub(super) trait Shape: Send + Sync + 'static {
    /// Side of the kernel.
    const KERNEL: usize;
    /// Positions of a tile, side by side.
    const TILE: usize;
    /// Those of a short one: rows that are no multiple of tiles are often tiles and short ones.
    const SHORT: usize;
    /// Registers of 32 filters for each position.
    const COLUMNS: usize = REGISTERS / Self::TILE;
    /// Registers of indexes that two groups share, one in each byte of a word.
    const INDEXES: usize = Self::KERNEL * Self::COLUMNS;

    /// Sums what the indexes find in the tables of some groups, and adds it to what is kept for a tile.
    ///
    /// # Safety
    /// The CPU has AVX-512 BW. Each group has tables of as many positions as the tile's windows see, of which those
    /// that do not exist may hold anything; there are indexes for all groups, and one byte more may be read.
    unsafe fn span(groups: Groups, indexes: *const u8, from: *const Narrow, to: *mut Narrow);

    /// [`Shape::span`] for a short tile.
    ///
    /// # Safety
    /// As there.
    unsafe fn short_span(groups: Groups, indexes: *const u8, from: *const Narrow, to: *mut Narrow);
}

macro_rules! name_registers {
    ($($name:tt $register:literal)*) => {
        macro_rules! register {
            $(($name) => { $register };)*
        }
    };
}

// Sums stand in the first sixteen. All are numbered here: without optimisation the compiler finds no place for so many.
name_registers! {
    "f0" "zmm16" "f1" "zmm17" "f2" "zmm18" "f3" "zmm19" "f4" "zmm20" "f5" "zmm21" "f6" "zmm22" "f7" "zmm23"
    "low" "zmm24" "high" "zmm25" "i0" "zmm26" "i1" "zmm27" "i2" "zmm28" "i3" "zmm29" "i4" "zmm30" "i5" "zmm31"
    "low0" "zmm24" "high0" "zmm25" "low1" "zmm26" "high1" "zmm27" "low2" "zmm28" "high2" "zmm29" "low3" "zmm30" "high3" "zmm31"
}

macro_rules! load {
    ($to:tt, $from:literal, $offset:literal) => {
        concat!("vmovdqu64 ", register!($to), ", [{", $from, "} + 64 * ", $offset, "]\n")
    };
}

macro_rules! copy {
    ($to:tt, $from:tt) => {
        concat!("vmovdqa64 ", register!($to), ", ", register!($from), "\n")
    };
}

macro_rules! look_up {
    ($found:tt, $low:tt, $high:tt) => {
        concat!("vpermi2w ", register!($found), ", ", register!($low), ", ", register!($high), "\n")
    };
}

macro_rules! add {
    ($sum:literal, $found:tt) => {
        concat!("vpaddw zmm", $sum, ", zmm", $sum, ", ", register!($found), "\n")
    };
}

/// Adds `f0` to `f5` to sums.
macro_rules! add_six {
    ($a:literal $b:literal $c:literal $d:literal $e:literal $f:literal) => {
        concat!(add!($a, "f0"), add!($b, "f1"), add!($c, "f2"), add!($d, "f3"), add!($e, "f4"), add!($f, "f5"))
    };
}

/// Adds `f0` to `f7` to sums.
macro_rules! add_eight {
    ($a:literal $b:literal $c:literal $d:literal $e:literal $f:literal $g:literal $h:literal) => {
        concat!(add_six!($a $b $c $d $e $f), add!($g, "f6"), add!($h, "f7"))
    };
}

/// The loop over the groups of a span, whose body is some assembly with these registers of sums.
macro_rules! span {
    ($groups:ident, $indexes:ident, $from:ident, $to:ident, $body:expr, [$($sum:tt $number:literal)*]) => {{
        let mut sums = [$({ let _: usize = $number; _mm512_setzero_si512() }),*];
        macro_rules! group {
            ($group_tables:expr, $group_indexes:expr) => {
                asm!(
                    $body,
                    tables = in(reg) $group_tables,
                    indexes = in(reg) $group_indexes,
                    out("zmm16") _, out("zmm17") _, out("zmm18") _, out("zmm19") _,
                    out("zmm20") _, out("zmm21") _, out("zmm22") _, out("zmm23") _,
                    out("zmm24") _, out("zmm25") _, out("zmm26") _, out("zmm27") _,
                    out("zmm28") _, out("zmm29") _, out("zmm30") _, out("zmm31") _,
                    $(inout($sum) sums[$number],)*
                    options(nostack, readonly, preserves_flags),
                )
            };
        }
        let Groups { mut tables, stride, count } = $groups;
        let mut indexes = $indexes;
        $(_mm_prefetch::<_MM_HINT_T0>($from.wrapping_add($number).cast());)*
        // SAFETY: promised by the caller; a permutation ignores what stands above the six bits of an index, so the second
        // group's are read from the next byte on.
        unsafe {
            for _ in 0..count / 2 {
                for line in 0..Self::INDEXES {
                    _mm_prefetch::<_MM_HINT_T0>(indexes.wrapping_add(64 * (AHEAD + line)).cast());
                }
                group!(tables, indexes);
                group!(tables.wrapping_add(stride), indexes.add(1));
                tables = tables.wrapping_add(2 * stride);
                indexes = indexes.add(64 * Self::INDEXES);
            }
            if count % 2 == 1 {
                group!(tables, indexes);
            }
            $(
                let before = _mm512_loadu_si512($from.add($number).cast());
                _mm512_storeu_si512($to.add($number).cast(), _mm512_add_epi16(before, sums[$number]));
            )*
        }
    }};
}

/// 3×3: eight positions times 64 filters. A table is loaded once for the three taps that see its position.
pub(super) struct Three;

/// Looks up twice, for the two registers of filters of a tap.
macro_rules! look_up_two {
    ($a:tt, $b:tt, $index_a:tt, $index_b:tt) => {
        concat!(copy!($a, $index_a), look_up!($a, "low", "high"), copy!($b, $index_b), look_up!($b, "low", "high"))
    };
}

/// The table of a position.
macro_rules! table {
    ($low:literal, $high:literal) => {
        concat!(load!("low", "tables", $low), load!("high", "tables", $high))
    };
}

/// What long and short tiles begin with: the indexes of the group, and the first four positions for all outputs that see them.
macro_rules! first_outputs {
    () => {
        concat!(
            load!("i0", "indexes", 0),
            load!("i1", "indexes", 1),
            load!("i2", "indexes", 2),
            load!("i3", "indexes", 3),
            load!("i4", "indexes", 4),
            load!("i5", "indexes", 5),
            table!(0, 1),
            look_up_two!("f0", "f1", "i0", "i1"),
            table!(2, 3),
            look_up_two!("f2", "f3", "i0", "i1"),
            look_up_two!("f4", "f5", "i2", "i3"),
            table!(4, 5),
            look_up_two!("f6", "f7", "i0", "i1"),
            add_eight!(0 1 2 3 0 1 4 5),
            look_up_two!("f0", "f1", "i2", "i3"),
            look_up_two!("f2", "f3", "i4", "i5"),
            table!(6, 7),
            look_up_two!("f4", "f5", "i0", "i1"),
            look_up_two!("f6", "f7", "i2", "i3"),
            add_eight!(2 3 0 1 6 7 4 5),
            look_up_two!("f0", "f1", "i4", "i5"),
            table!(8, 9),
            look_up_two!("f2", "f3", "i0", "i1"),
            look_up_two!("f4", "f5", "i2", "i3"),
            look_up_two!("f6", "f7", "i4", "i5"),
            add_eight!(2 3 8 9 6 7 4 5),
        )
    };
}

impl Shape for Three {
    const KERNEL: usize = 3;
    const TILE: usize = 8;
    const SHORT: usize = 5;

    #[target_feature(enable = "avx512f,avx512bw")]
    unsafe fn span(groups: Groups, indexes: *const u8, from: *const Narrow, to: *mut Narrow) {
        span!(
            groups,
            indexes,
            from,
            to,
            // Position p is seen by the left tap of output p, the middle tap of p − 1 and the right tap of p − 2.
            concat!(
                first_outputs!(),
                table!(10, 11),
                look_up_two!("f0", "f1", "i0", "i1"),
                look_up_two!("f2", "f3", "i2", "i3"),
                look_up_two!("f4", "f5", "i4", "i5"),
                table!(12, 13),
                look_up_two!("f6", "f7", "i0", "i1"),
                add_eight!(10 11 8 9 6 7 12 13),
                look_up_two!("f0", "f1", "i2", "i3"),
                look_up_two!("f2", "f3", "i4", "i5"),
                table!(14, 15),
                look_up_two!("f4", "f5", "i0", "i1"),
                look_up_two!("f6", "f7", "i2", "i3"),
                add_eight!(10 11 8 9 14 15 12 13),
                look_up_two!("f0", "f1", "i4", "i5"),
                table!(16, 17),
                look_up_two!("f2", "f3", "i2", "i3"),
                look_up_two!("f4", "f5", "i4", "i5"),
                table!(18, 19),
                look_up_two!("f6", "f7", "i4", "i5"),
                add_eight!(10 11 14 15 12 13 14 15),
            ),
            ["zmm0" 0 "zmm1" 1 "zmm2" 2 "zmm3" 3 "zmm4" 4 "zmm5" 5 "zmm6" 6 "zmm7" 7 "zmm8" 8 "zmm9" 9 "zmm10" 10 "zmm11" 11 "zmm12" 12 "zmm13" 13 "zmm14" 14 "zmm15" 15]
        );
    }

    #[target_feature(enable = "avx512f,avx512bw")]
    unsafe fn short_span(groups: Groups, indexes: *const u8, from: *const Narrow, to: *mut Narrow) {
        span!(
            groups,
            indexes,
            from,
            to,
            concat!(
                first_outputs!(),
                table!(10, 11),
                look_up_two!("f0", "f1", "i2", "i3"),
                look_up_two!("f2", "f3", "i4", "i5"),
                table!(12, 13),
                look_up_two!("f4", "f5", "i4", "i5"),
                add_six!(8 9 6 7 8 9),
            ),
            ["zmm0" 0 "zmm1" 1 "zmm2" 2 "zmm3" 3 "zmm4" 4 "zmm5" 5 "zmm6" 6 "zmm7" 7 "zmm8" 8 "zmm9" 9]
        );
    }
}

/// 1×1: four positions, whose tables stay in registers, times 128 filters.
pub(super) struct One;

/// Looks up in the tables of all four positions, for a register of filters.
macro_rules! look_up_four {
    ($a:tt, $b:tt, $c:tt, $d:tt, $offset:literal) => {
        concat!(
            load!($a, "indexes", $offset),
            copy!($b, $a),
            copy!($c, $a),
            copy!($d, $a),
            look_up!($a, "low0", "high0"),
            look_up!($b, "low1", "high1"),
            look_up!($c, "low2", "high2"),
            look_up!($d, "low3", "high3"),
        )
    };
}

impl Shape for One {
    const KERNEL: usize = 1;
    const TILE: usize = 4;
    const SHORT: usize = 4;

    #[target_feature(enable = "avx512f,avx512bw")]
    unsafe fn span(groups: Groups, indexes: *const u8, from: *const Narrow, to: *mut Narrow) {
        span!(
            groups,
            indexes,
            from,
            to,
            concat!(
                load!("low0", "tables", 0),
                load!("high0", "tables", 1),
                load!("low1", "tables", 2),
                load!("high1", "tables", 3),
                load!("low2", "tables", 4),
                load!("high2", "tables", 5),
                load!("low3", "tables", 6),
                load!("high3", "tables", 7),
                look_up_four!("f0", "f1", "f2", "f3", 0),
                look_up_four!("f4", "f5", "f6", "f7", 1),
                add_eight!(0 4 8 12 1 5 9 13),
                look_up_four!("f0", "f1", "f2", "f3", 2),
                look_up_four!("f4", "f5", "f6", "f7", 3),
                add_eight!(2 6 10 14 3 7 11 15),
            ),
            ["zmm0" 0 "zmm1" 1 "zmm2" 2 "zmm3" 3 "zmm4" 4 "zmm5" 5 "zmm6" 6 "zmm7" 7 "zmm8" 8 "zmm9" 9 "zmm10" 10 "zmm11" 11 "zmm12" 12 "zmm13" 13 "zmm14" 14 "zmm15" 15]
        );
    }

    #[target_feature(enable = "avx512f,avx512bw")]
    unsafe fn short_span(groups: Groups, indexes: *const u8, from: *const Narrow, to: *mut Narrow) {
        // SAFETY: promised by the caller.
        unsafe { Self::span(groups, indexes, from, to) };
    }
}
