//! Kernels for 64-bit ARM, with one file for each family.

mod depthwise;
mod dotprod;
mod i8mm;
mod peak;
mod tables;

use super::{
    Family, Kernel,
    tables::{Stored, TableKernel},
};
use i8mm::I8mm;
use tables::{Floats, LARGE, SMALL, Words};

pub(super) use peak::bursts;

/// The kernels, the preferred first.
pub(super) const KERNELS: &[&dyn Kernel] = &[
    &I8mm,
    &TableKernel::<Floats<LARGE>, Words<LARGE>>::new("neon-tables", Family::Other, tables::available),
    &TableKernel::<Floats<SMALL>, Words<SMALL>>::new("neon-small-tables", Family::Other, tables::available),
];

/// Scale, bias and activation of the sums of some filters, as the compiler vectorises them.
#[inline(always)]
fn follow<O: Stored, const N: usize>(
    sums: &[i32; N],
    scale: &[f32; N],
    bias: &[f32; N],
    slope: f32,
    zero_point: u8,
) -> [O; N] {
    let mut values = [O::default(); N];
    for (i, value) in values.iter_mut().enumerate() {
        let y = (sums[i] as f32).mul_add(scale[i], bias[i]);
        let scaled = slope * y;
        // Not `max`, which looks for NaN.
        *value = O::from_float(if y > scaled { y } else { scaled }, zero_point.into());
    }
    values
}

#[cfg(test)]
mod tests {
    use super::{dotprod, i8mm};
    use crate::engine::{Mode, kernels};

    /// Says which, so that a run on an emulated core shows what it tested.
    #[test]
    fn this_core_has_its_kernels() {
        for mode in [Mode::F32, Mode::Int8] {
            let names = kernels(mode);
            println!("kernels in {mode} mode: {}", names.join(", "));
            let products = mode == Mode::Int8 && i8mm::available();
            let first = if products { &["neon-i8mm"][..] } else { &[] };
            assert_eq!(names, [first, &["neon-tables", "neon-small-tables", "portable"]].concat());
        }
        println!("dot products in the tables' full-precision layers: {}", dotprod::available());
    }
}
