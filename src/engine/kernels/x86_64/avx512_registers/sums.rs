//! Sums of 16 bits, and when they have to be widened.
//!
//! What has been added up can be no larger than the sum of all `|x − zero point|`, whatever the weights. Values of a real map
//! lie near its zero point, so that thousands of them fit 16 bits; where they do not, sums are widened more often.

use super::{
    super::{avx512::dot_words, dense::Sums},
    build::GROUP,
    lookup::{REGISTERS, Shape},
};
use std::arch::x86_64::*;

/// Sums of a position and 32 filters. Even lanes are the first 16 filters, odd lanes the others: see [`widen`].
pub(super) type Narrow = [i16; 32];

/// Bounds up to this one fit 16 bits.
const MOST: usize = i16::MAX as usize;

/// Sums that nothing was added to.
#[repr(align(64))]
pub(super) struct Zeros(pub(super) [Narrow; REGISTERS]);

pub(super) static ZEROS: Zeros = Zeros([[0; 32]; REGISTERS]);

/// How the sums of a tile stand.
#[derive(Clone, Copy, Default)]
pub(super) struct State {
    /// What no sum of 16 bits exceeds.
    bound: usize,
    /// Are there sums of 16 bits? Else they are 0.
    pub(super) narrow: bool,
    /// Are there sums of 32 bits? Else they are those that the filters start from.
    wide: bool,
}

/// The sums of a tile, those of a register for each `[block of filters][position][register of the block]`.
pub(super) struct Kept<'a> {
    pub(super) state: &'a mut State,
    pub(super) narrow: *mut Narrow,
    pub(super) wide: *mut Sums,
    pub(super) positions: usize,
    /// Where the sums of 32 filters start, `[block of filters][register of filters]`.
    pub(super) starts: &'a [Sums],
}

impl Kept<'_> {
    /// Sees to it that something can be added to the sums of 16 bits that is no larger than a bound.
    ///
    /// # Safety
    /// Those that the state says exist have been written, and there is room for those of 32 bits.
    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    pub(super) unsafe fn make_room<S: Shape>(&mut self, bound: usize) {
        if self.state.bound + bound > MOST {
            for column in 0..self.starts.len() {
                for position in 0..self.positions {
                    // SAFETY: promised by the caller; a `Sums` is two registers.
                    unsafe {
                        let to = self.wide.add(self.at::<S>(position, column)).cast::<[__m512i; 2]>();
                        to.write_unaligned(self.sums::<S>(position, column));
                    }
                }
            }
            *self.state = State { bound: 0, narrow: false, wide: true };
        }
        self.state.bound += bound;
    }

    fn at<S: Shape>(&self, position: usize, column: usize) -> usize {
        (column / S::COLUMNS * self.positions + position) * S::COLUMNS + column % S::COLUMNS
    }

    /// All that was added up for a register of filters, with what it started from.
    ///
    /// # Safety
    /// There are sums of 16 bits, and those of 32 bits if the state says so.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    pub(super) unsafe fn sums<S: Shape>(&self, position: usize, column: usize) -> [__m512i; 2] {
        let at = self.at::<S>(position, column);
        // SAFETY: promised by the caller.
        unsafe {
            let start = if self.state.wide { &*self.wide.add(at) } else { &self.starts[column] };
            widen(&*self.narrow.add(at), start)
        }
    }
}

/// What no sum of some outputs over a row of the kernel exceeds, or more than fits. `deviations` are those of the positions
/// that the outputs see, and more.
pub(super) fn bound<S: Shape>(deviations: &[u16], outputs: usize) -> usize {
    let mut windows = [0_u16; REGISTERS];
    for x in 0..S::KERNEL {
        let more = &deviations[x..x + S::TILE];
        windows[..S::TILE].iter_mut().zip(more).for_each(|(window, &more)| *window = window.saturating_add(more));
    }
    windows[..outputs].iter().copied().max().map_or(0, usize::from)
}

/// How many groups of a span of so many can be summed, and what no sum over them exceeds; `bound` is that of the span.
pub(super) fn fitting<S: Shape>(middle: u8, groups: usize, bound: usize) -> (usize, usize) {
    if bound <= MOST {
        return (groups, bound);
    }
    // Whatever the map holds; an even number, since two groups share their indexes.
    let any = usize::from(middle.max(u8::MAX - middle)) * GROUP * S::KERNEL;
    let groups = MOST / any / 2 * 2;
    (groups, groups * any)
}

/// Adds sums of 16 bits to those of 32. Even lanes are the first 16 filters of a register, odd lanes the others, so that
/// nothing has to be moved: products with 1 and 0 take them apart.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn widen(narrow: &Narrow, from: &Sums) -> [__m512i; 2] {
    let (even, odd) = (_mm512_set1_epi32(1), _mm512_set1_epi32(1 << 16));
    // SAFETY: 32 words are a register, a `Sums` is two.
    unsafe {
        let narrow = _mm512_loadu_si512(narrow.as_ptr().cast());
        let half = |at: usize| _mm512_loadu_si512(from.as_ptr().add(at).cast());
        [dot_words(half(0), narrow, even), dot_words(half(16), narrow, odd)]
    }
}
