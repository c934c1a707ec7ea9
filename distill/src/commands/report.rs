//! `distill report`.

use clap::Args;
use onebit_distill::report::Table;
use std::{error::Error, path::PathBuf};

#[derive(Args)]
#[command(after_help = "Example:\n  onebit eval kitti DATA --model demo.safetensors --json runs/demo/evaluation.json\n  \
                        distill report runs/* --csv runs.csv")]
pub(crate) struct Arguments {
    /// Folders of runs; an evaluation.json in one (from onebit eval kitti) adds its AP
    #[arg(required = true)]
    runs: Vec<PathBuf>,
    /// Also write the table as a CSV file
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,
}

impl Arguments {
    pub(crate) fn run(self) -> Result<(), Box<dyn Error>> {
        let table = Table::gather(&self.runs)?;
        print!("{}", table.to_markdown());
        self.csv.map_or(Ok(()), |path| Ok(table.write_csv(&path)?))
    }
}
