//! How a network runs.
//!
//! A [`Session`] is made from a model once and then runs frame after frame without allocating:
//! 1. `kernels` has the ways to compute a layer; each wants its feature maps in one `layout`.
//! 2. `plan` turns the network into steps for the chosen kernel; `arithmetic` gives the constants of each layer (and
//!    states the formula of int8 mode), `placement` says where its feature maps stand in the one piece of `memory`.
//! 3. `threads` runs the items of each step.
//!
//! [`calibrate()`] measures the activation ranges that int8 mode needs.
//!
//! In both modes a layer's values do not depend on the number of threads: each is computed by one thread, in one order.

mod arena;
mod arithmetic;
mod calibrate;
mod error;
mod kernels;
mod layout;
mod memory;
mod peak;
mod placement;
mod plan;
mod session;
mod threads;

pub use calibrate::calibrate;
pub use error::EngineError;
pub use peak::{Int8Peak, int8_peak};
pub use session::{Input, LayerProfile, Output, Session};

use std::{fmt, thread};

/// The largest number of threads of a session.
pub const MAX_THREADS: usize = 256;

/// What activations are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// 32-bit floats: the reference.
    F32,
    /// Bytes with a scale and a zero point for each layer; the model must be calibrated. The last layer gives floats.
    #[default]
    Int8,
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::F32 => "f32",
            Self::Int8 => "int8",
        })
    }
}

/// How to run a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// What activations are.
    pub mode: Mode,
    /// Threads that compute, the caller's among them: 1 to [`MAX_THREADS`].
    pub threads: usize,
    /// Name of a kernel, one of [`kernels()`]; without it, the best one for this CPU.
    pub kernel: Option<String>,
    /// Keep the output of every layer for [`Session::layer`], which takes more memory; floats may be summed in another order.
    pub keep_layers: bool,
}

impl Default for Options {
    /// int8 mode on as many threads as the process may use, up to 4: the cores are not the detector's alone.
    fn default() -> Self {
        let threads = thread::available_parallelism().map_or(1, |threads| threads.get().min(4));
        Self { mode: Mode::default(), threads, kernel: None, keep_layers: false }
    }
}

/// Names of the kernels that this CPU can run in a mode, the preferred first.
pub fn kernels(mode: Mode) -> Vec<&'static str> {
    kernels::names(mode)
}

#[cfg(test)]
mod tests;
