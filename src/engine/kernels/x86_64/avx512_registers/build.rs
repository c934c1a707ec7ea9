//! Tables of 64 sums of six bytes, each two registers.
//!
//! Entry `i` sums `x − middle` of the six bytes, each with the sign that [`index`] turns into `i`; the middle is the zero
//! point, near which most bytes lie, so that sums stay small. With the signs turned, a sum is turned too, so the second half
//! of a table is the negative first.

use std::{
    arch::{asm, x86_64::*},
    mem::MaybeUninit,
};

/// Inputs of a table.
pub(super) const GROUP: usize = 6;
/// Groups that are built together, at most: the sum of all `|x − middle|` of a position fits 16 bits.
pub(super) const MOST_GROUPS: usize = u16::MAX as usize / (GROUP * u8::MAX as usize);
/// Bytes of a table.
pub(super) const TABLE: usize = 128;
/// Tables that are built from one register of inputs.
const TOGETHER: usize = 8;
/// A group's bytes, and the first two again: four bytes from byte 0, 2 and 4 on hold the three pairs in any order.
const STAGED: usize = GROUP + 2;

/// Turns eight bytes of six bits each, 1 for +, into entries of the tables.
pub(super) const fn index(signs: u64) -> u64 {
    // The last of six is − in the first half; in the second one, all are turned.
    let last = (signs >> 5) & 0x0101_0101_0101_0101;
    signs ^ (last * 0x1f)
}

#[repr(align(64))]
struct Register<T>(T);

/// The sign of an input in an entry of the first half.
const fn sign(entry: usize, input: usize) -> i8 {
    if input < GROUP - 1 && entry >> input & 1 == 1 { 1 } else { -1 }
}

/// Signs of the pairs that broadcasting four bytes from byte `2 · first` on brings: one pair to even entries, the next one to
/// odd entries.
const fn pairs(first: usize) -> Register<[i8; 64]> {
    let mut signs = [0; 64];
    let mut i = 0;
    while i < 64 {
        let entry = i / 2;
        let pair = (first + entry % 2) % 3;
        signs[i] = sign(entry, 2 * pair + i % 2);
        i += 1;
    }
    Register(signs)
}

/// What every input is less of.
pub(super) struct Middle {
    pub(super) value: u8,
    /// What makes of a sum of `x` one of `x − value`.
    entries: Register<[i16; 32]>,
}

impl Middle {
    pub(super) fn new(value: u8) -> Self {
        let entry = |entry| -(0..GROUP).map(|input| i16::from(value) * i16::from(sign(entry, input))).sum::<i16>();
        Self { value, entries: Register(std::array::from_fn(entry)) }
    }
}

/// Where the bytes of [`TOGETHER`] staged groups come from.
const fn spread() -> Register<[u8; 64]> {
    let mut from = [0; 64];
    let mut i = 0;
    while i < 64 {
        from[i] = (i / STAGED * GROUP + i % STAGED % GROUP) as u8;
        i += 1;
    }
    Register(from)
}

static PAIRS: [Register<[i8; 64]>; 3] = [pairs(0), pairs(1), pairs(2)];
static SPREAD: Register<[u8; 64]> = spread();

/// Builds the tables of some groups at neighbouring positions, whose inputs start somewhere each; inputs past `channels` are
/// the middle. The tables of a group stand one after the other, those of groups `stride` bytes apart. `deviations` becomes the
/// sum of all `|x − middle|` of each position.
///
/// # Safety
/// Each position has `channels` bytes to read, and there is room for the tables, which starts with a cache line.
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
pub(super) unsafe fn build(
    inputs: &[*const u8],
    (channels, groups): (usize, usize),
    middle: &Middle,
    (tables, stride): (*mut u8, usize),
    deviations: &mut [u16],
) {
    // SAFETY: each is one register.
    let [spread, middles, a, b, c] = unsafe {
        let load = |from: *const u8| _mm512_load_si512(from.cast());
        let [a, b, c] = &PAIRS;
        [
            load(SPREAD.0.as_ptr()),
            load(middle.entries.0.as_ptr().cast()),
            load(a.0.as_ptr().cast()),
            load(b.0.as_ptr().cast()),
            load(c.0.as_ptr().cast()),
        ]
    };
    let middle = _mm512_set1_epi8(middle.value.cast_signed());
    let mut staged = [const { MaybeUninit::<Register<[u8; 64]>>::uninit() }; MOST_GROUPS.div_ceil(TOGETHER)];
    let staged = staged.as_mut_ptr().cast::<u8>();
    for ((position, inputs), deviation) in inputs.iter().enumerate().zip(deviations) {
        // All groups are staged before the first table, so that loads find what was stored.
        let mut deviations = _mm512_setzero_si512();
        for first in (0..groups).step_by(TOGETHER) {
            let start = first * GROUP;
            let present = channels.saturating_sub(start).min(TOGETHER * GROUP);
            // SAFETY: only bytes that are there are read; there is a register for each eight groups.
            unsafe {
                let bytes = _mm512_mask_loadu_epi8(middle, (1 << present) - 1, inputs.wrapping_add(start).cast());
                deviations = _mm512_add_epi64(deviations, _mm512_sad_epu8(bytes, middle));
                // Assembly, so that the compiler does not see what was stored: it would shuffle registers where loads that
                // broadcast are free.
                asm!(
                    "vmovdqa64 [{to}], {bytes}",
                    to = in(reg) staged.add(first * STAGED),
                    bytes = in(zmm_reg) _mm512_permutexvar_epi8(spread, bytes),
                    options(nostack, preserves_flags),
                );
            }
        }
        let mut table = tables.wrapping_add(position * TABLE);
        for group in 0..groups {
            // SAFETY: four bytes of the eight of a group; a table is two registers.
            unsafe {
                let four = |at: usize| _mm512_set1_epi32(staged.add(group * STAGED + at).cast::<i32>().read_unaligned());
                let ab = _mm512_add_epi16(_mm512_maddubs_epi16(four(0), a), _mm512_maddubs_epi16(four(2), b));
                let sums = _mm512_add_epi16(ab, _mm512_add_epi16(_mm512_maddubs_epi16(four(4), c), middles));
                _mm512_store_si512(table.cast(), sums);
                _mm512_store_si512(table.add(TABLE / 2).cast(), _mm512_sub_epi16(_mm512_setzero_si512(), sums));
            }
            table = table.wrapping_add(stride);
        }
        *deviation = _mm512_reduce_add_epi64(deviations) as u16;
    }
}
