//! `distill synth`.

use clap::Args;
use onebit_distill::synth::{self, Condition};
use std::{error::Error, path::PathBuf};

#[derive(Args)]
#[command(after_help = "Example:\n  distill synth data/synthetic --frames 200 --seed 1 --conditions day,rain")]
pub(crate) struct Arguments {
    /// Folder of the set, in KITTI layout
    output: PathBuf,
    /// How many frames
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    frames: u32,
    /// Source of all chance
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Light and weather, taking turns from frame to frame
    #[arg(long, value_enum, value_delimiter = ',', default_value = "day,night,rain")]
    conditions: Vec<Condition>,
}

impl Arguments {
    pub(crate) fn run(self) -> Result<(), Box<dyn Error>> {
        synth::write(&self.output, self.frames, self.seed, &self.conditions)?;
        println!("{}: {} synthetic frames", self.output.display(), self.frames);
        Ok(())
    }
}
