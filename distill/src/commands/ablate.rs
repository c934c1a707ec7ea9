//! `distill ablate`: one recipe in several variants.

use super::overlay::{Devices, Overlay};
use clap::Args;
use onebit_distill::ablation::{self, Plan, Share, Trial};
use std::{
    error::Error,
    fs,
    path::{Path, PathBuf},
};

/// Train a recipe in several variants with several seeds, measure each, and print one table.
#[derive(Args)]
#[command(after_help = "\
Every run has a folder of its own, OUT/VARIANT/seed-N; what is measured already is not done again. The runs are independent:
share them out with --only, each machine with the same OUT or with its own, copied together afterwards.

Examples:
  distill ablate distill/plans/proof.yaml --data DATA -o runs/proof
  distill ablate distill/plans/proof.yaml --data DATA -o runs/proof --only $SLURM_ARRAY_TASK_ID/12
  distill ablate distill/plans/proof.yaml -o runs/proof --table")]
pub(crate) struct Arguments {
    /// The plan, a YAML file
    plan: PathBuf,
    /// Folder of the runs
    #[arg(short, long, value_name = "OUT")]
    output: PathBuf,
    #[command(flatten)]
    overlay: Overlay,
    /// Only every n-th run from the i-th: i/n
    #[arg(long, value_name = "I/N", default_value = "1/1")]
    only: Share,
    #[command(flatten)]
    devices: Devices,
    /// The difficulty that the tables and the picture show; OUT/scores.csv has all
    #[arg(long, value_name = "NAME", default_value = "moderate", value_parser = ["easy", "moderate", "hard"])]
    difficulty: String,
    /// Train nothing, only print the table of what is measured and draw OUT/scores.png
    #[arg(long)]
    table: bool,
}

impl Arguments {
    pub(crate) fn run(self) -> Result<(), Box<dyn Error>> {
        let plan = Plan::load(&self.plan)?;
        let mut trials = plan.trials()?;
        trials.iter_mut().for_each(|trial| self.overlay.lay_over(&mut trial.recipe));
        if !self.table {
            ablation::run(&plan, &trials, &self.output, self.only, &self.devices.list)?;
        }
        print_tables(&plan, &trials, &self.output, &self.difficulty)
    }
}

fn print_tables(plan: &Plan, trials: &[Trial], output: &Path, difficulty: &str) -> Result<(), Box<dyn Error>> {
    let table = ablation::table(trials, output, difficulty)?;
    if table.is_empty() {
        println!("{}: nothing is measured yet", output.display());
        return Ok(());
    }
    fs::write(output.join("scores.csv"), table.to_csv())?;
    if let Some(picture) = ablation::plot(&table) {
        picture.save(output.join("scores.png"))?;
    }
    print!("{table}");
    if let Some(gap) = &plan.gap {
        print!("\n{}", gap.gains(&table));
    }
    Ok(())
}
