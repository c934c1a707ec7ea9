//! Kernels for 64-bit ARM, with one file for each family.

mod tables;

use super::{Kernel, tables::TableKernel};

/// The kernels, the preferred first.
pub(super) const KERNELS: &[&dyn Kernel] =
    &[&TableKernel::<tables::Floats, tables::Words>::new("neon-tables", tables::available)];
