//! Kernels for 64-bit ARM, with one file for each family.

mod tables;

use super::{Kernel, tables::TableKernel};
use tables::{Floats, LARGE, SMALL, Words};

/// The kernels, the preferred first.
pub(super) const KERNELS: &[&dyn Kernel] = &[
    &TableKernel::<Floats<LARGE>, Words<LARGE>>::new("neon-tables", tables::available),
    &TableKernel::<Floats<SMALL>, Words<SMALL>>::new("neon-small-tables", tables::available),
];

#[cfg(test)]
mod tests {
    use crate::engine::{Mode, kernels};

    /// Says which, so that a run on an emulated core shows what it tested.
    #[test]
    fn this_core_has_its_kernels() {
        for mode in [Mode::F32, Mode::Int8] {
            let names = kernels(mode);
            println!("kernels in {mode} mode: {}", names.join(", "));
            assert_eq!(names, ["neon-tables", "neon-small-tables", "portable"]);
        }
    }
}
