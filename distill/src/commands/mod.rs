//! The program's commands: their arguments, and what they print.

pub(crate) mod ablate;
pub(crate) mod anchors;
mod overlay;
pub(crate) mod pack;
pub(crate) mod plot;
pub(crate) mod report;
pub(crate) mod synth;
pub(crate) mod teacher;
pub(crate) mod train;
