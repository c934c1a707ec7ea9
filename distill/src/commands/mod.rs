//! The program's commands beside training and packing: their arguments, and what they print.

pub(crate) mod ablate;
pub(crate) mod anchors;
pub(crate) mod plot;
pub(crate) mod report;
pub(crate) mod synth;
pub(crate) mod teacher;
