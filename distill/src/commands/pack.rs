//! `distill pack`.

use super::overlay::DataFolder;
use clap::Args;
use onebit_distill::{packing, training};
use std::{error::Error, fs, path::PathBuf};

/// Write a run's weights as a model file
#[derive(Args)]
#[command(after_help = "Example:\n  distill pack runs/demo -o demo.safetensors")]
pub(crate) struct Arguments {
    /// Folder of the run
    run: PathBuf,
    /// The model file to write
    #[arg(short, long)]
    output: PathBuf,
    #[command(flatten)]
    data: DataFolder,
    /// Training frames on which activation ranges are measured
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..))]
    frames: u32,
    /// Training batches over which batch norm's statistics are measured anew; 0 keeps those of the training
    #[arg(long, value_name = "BATCHES", default_value_t = 0)]
    batch_norm: u32,
}

impl Arguments {
    pub(crate) fn run(self) -> Result<(), Box<dyn Error>> {
        let recipe = self.data.load(&self.run.join(training::RECIPE))?;
        let options = packing::Options { frames: self.frames as usize, batch_norm: self.batch_norm as usize };
        let model = packing::pack(&self.run, &recipe, options)?;
        model.save(&self.output)?;
        let (path, bytes) = (self.output.display(), fs::metadata(&self.output)?.len());
        println!("{path}: {}, {bytes} bytes", model.network.name());
        Ok(())
    }
}
