//! `distill plot`.

use clap::Args;
use onebit_distill::report::{History, PLOT, ReportError, plot};
use std::{error::Error, path::PathBuf};

#[derive(Args)]
#[command(after_help = "Example:\n  distill plot runs/demo")]
pub(crate) struct Arguments {
    /// Folder of the run
    run: PathBuf,
    /// The picture to write, in place of the run's own loss.png
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

impl Arguments {
    pub(crate) fn run(self) -> Result<(), Box<dyn Error>> {
        let picture = plot(&History::read(&self.run)?).ok_or_else(|| ReportError::NoEpoch(self.run.clone()))?;
        let output = self.output.unwrap_or_else(|| self.run.join(PLOT));
        picture.save(&output).map_err(|e| format!("{}: {e}", output.display()))?;
        println!("{}", output.display());
        Ok(())
    }
}
