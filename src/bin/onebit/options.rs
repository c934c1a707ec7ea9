//! Options that several commands share.

use clap::{Args, ValueEnum};
use onebit_detector::engine;

/// How the engine runs.
#[derive(Args)]
pub(crate) struct EngineArguments {
    /// Activations of the network
    #[arg(long, value_enum, default_value_t = Mode::Int8)]
    mode: Mode,
    /// Threads that the network runs on
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    threads: u16,
    /// Kernel by name [default: the quickest on this processor]
    #[arg(long, env = "ONEBIT_KERNEL")]
    kernel: Option<String>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Mode {
    /// Bytes, calibrated when the model was packed
    Int8,
    /// 32-bit floats
    F32,
}

impl EngineArguments {
    pub(crate) fn options(&self) -> engine::Options {
        engine::Options {
            mode: match self.mode {
                Mode::Int8 => engine::Mode::Int8,
                Mode::F32 => engine::Mode::F32,
            },
            threads: usize::from(self.threads),
            kernel: self.kernel.clone(),
            ..engine::Options::default()
        }
    }
}
