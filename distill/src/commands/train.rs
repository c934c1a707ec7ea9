//! `distill train`.

use super::overlay::{Devices, Overlay};
use clap::Args;
use onebit_distill::training;
use std::{error::Error, path::PathBuf};

/// Train a recipe
#[derive(Args)]
#[command(after_help = "Examples:\n  distill train distill/recipes/demo.yaml --data DATA -o runs/demo\n  \
                        distill train distill/recipes/demo.yaml --data DATA -o runs/demo --resume")]
pub(crate) struct Arguments {
    /// The recipe, a YAML file
    recipe: PathBuf,
    /// Folder of the run: recipe, metrics, checkpoint
    #[arg(short, long, value_name = "RUN")]
    output: PathBuf,
    #[command(flatten)]
    overlay: Overlay,
    /// Go on from the run's checkpoint
    #[arg(long)]
    resume: bool,
    #[command(flatten)]
    devices: Devices,
}

impl Arguments {
    pub(crate) fn run(self) -> Result<(), Box<dyn Error>> {
        let recipe = self.overlay.load(&self.recipe)?;
        Ok(training::train_on(&self.devices.list, &recipe, &self.output, self.resume)?)
    }
}
