//! Tables of sums, built in registers: what both kernels of tables do on x86-64.

use super::super::tables::{Lane, Line};
use std::arch::asm;

/// Fills the table of 5 or 6 channels.
///
/// # Safety
/// `N` values are read at each input, and the table has an entry for each choice of signs.
#[inline(always)]
pub(super) unsafe fn build<T: Lane, const N: usize>(inputs: &[*const T::Input], table: *mut Line<T, N>) {
    // SAFETY: promised by the caller.
    unsafe {
        match inputs.len() {
            5 => build_from::<T, N, 5>(inputs, table),
            _ => build_from::<T, N, 6>(inputs, table),
        }
    }
}

#[inline(always)]
fn sum<T: Lane, const N: usize>(a: &[T; N], b: &[T; N]) -> [T; N] {
    let mut sum = [T::default(); N];
    for ((sum, &a), &b) in sum.iter_mut().zip(a).zip(b) {
        *sum = a.add(b);
    }
    sum
}

/// [`build`] for a known number of channels. The four choices of the first two stay in registers; each choice of the next
/// three is added to all of them, and so is what the last one adds.
///
/// # Safety
/// As there.
#[inline(always)]
unsafe fn build_from<T: Lane, const N: usize, const CHANNELS: usize>(
    inputs: &[*const T::Input],
    mut table: *mut Line<T, N>,
) {
    const { assert!(CHANNELS == 5 || CHANNELS == 6) };
    let inputs: &[_; CHANNELS] = inputs.try_into().expect("as many inputs as channels");
    let mut lanes = [[T::default(); N]; CHANNELS];
    let mut first = [[T::default(); N]; 4];
    for (lanes, &input) in lanes.iter_mut().zip(inputs) {
        // SAFETY: promised by the caller.
        let values = unsafe { input.cast::<[T::Input; N]>().read_unaligned() };
        for (lane, &value) in lanes.iter_mut().zip(&values) {
            *lane = T::from_input(value);
        }
    }
    for lanes in &mut lanes {
        for (none, &lane) in first[0].iter_mut().zip(lanes.iter()) {
            *none = none.subtract(lane);
        }
        *lanes = sum(lanes, lanes);
    }
    first[1] = sum(&first[0], &lanes[0]);
    first[2] = sum(&first[0], &lanes[1]);
    first[3] = sum(&first[1], &lanes[1]);
    let mut next = [[T::default(); N]; 8];
    for choice in 1..next.len() {
        next[choice] = sum(&next[choice & (choice - 1)], &lanes[2 + choice.trailing_zeros() as usize]);
    }
    for _ in 0..1 << (CHANNELS - 5) {
        for next in &next {
            for first in &first {
                // SAFETY: one of the entries. The compiler makes no vectors across entries, which would be gathered and
                // scattered, where there is assembly between them, even none.
                unsafe {
                    table.write(Line(sum(first, next)));
                    table = table.add(1);
                    asm!("", options(nomem, nostack, preserves_flags));
                }
            }
        }
        for first in &mut first {
            *first = sum(first, &lanes[CHANNELS - 1]);
        }
    }
}
