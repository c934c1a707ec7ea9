//! Ablations: one recipe in several variants, each trained with several seeds and measured on frames it has not seen.
//!
//! The runs are independent: each has the folder `OUT/VARIANT/seed-N` with its run and, once it is measured,
//! `scores.json`. An ablation that was cut off goes on where it was, and its runs may be shared out among machines.

mod gap;
mod plan;
mod plot;
mod scores;
mod table;

pub use gap::{Gains, Gap};
pub use plan::{EvaluationSet, Plan, PlanError, TeacherRun, Trial};
pub use plot::plot;
pub use scores::{Score, Scores};
pub use table::Table;

use crate::{
    device::Compute,
    packing::{self, PackError},
    recipe::Recipe,
    training::{self, TrainError},
};
use onebit_detector::{evaluation::kitti::RunError, model_file::ModelError, onnx};
use std::{
    fs, io,
    num::NonZero,
    path::{Path, PathBuf},
    process,
    str::FromStr,
};
use thiserror::Error;

/// The file that a measured run's folder holds.
pub const SCORES: &str = "scores.json";

/// Why an ablation stopped.
#[derive(Debug, Error)]
pub enum AblationError {
    /// The plan cannot be used.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// A run failed.
    #[error(transparent)]
    Train(#[from] TrainError),
    /// A run cannot be packed.
    #[error(transparent)]
    Pack(#[from] PackError),
    /// A model cannot be measured.
    #[error(transparent)]
    Run(#[from] RunError),
    /// The run that is to teach is not there: another share of the ablation has it, perhaps on another machine.
    #[error("{variant} is taught by {}, which is not measured yet: run that one first", run.display())]
    NoTeacher {
        /// The variant that is taught.
        variant: String,
        /// Folder of the run that is to teach it.
        run: PathBuf,
    },
    /// A packed model is none.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// A file of the ablation cannot be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A file of scores is none.
    #[error("{}: {source}", path.display())]
    Scores {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where.
        source: serde_json::Error,
    },
}

impl AblationError {
    fn file(path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::File { path: path.into(), source }
    }
}

/// The `index`-th of `count` shares of an ablation's runs: every `count`-th run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// From 1.
    index: usize,
    count: NonZero<usize>,
}

impl Share {
    /// All runs.
    pub const ALL: Self = Self { index: 1, count: NonZero::<usize>::MIN };

    fn has(self, run: usize) -> bool {
        run % self.count == self.index - 1
    }
}

impl FromStr for Share {
    type Err = String;

    /// Reads `i/n`, such as `2/8`.
    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.split_once('/').and_then(|(i, n)| Some((i.parse().ok()?, n.parse().ok()?)));
        match parts {
            Some((index, count)) if (1..=NonZero::get(count)).contains(&index) => Ok(Self { index, count }),
            _ => Err(format!("'{text}' is no share: i/n with i from 1 to n, such as 2/8")),
        }
    }
}

/// Trains (on `devices`) and measures those of the plan's runs that are not yet, as far as they belong to the share.
///
/// # Errors
/// The first that occurs; what is finished stays.
pub fn run(plan: &Plan, trials: &[Trial], out: &Path, share: Share, devices: &[Compute]) -> Result<(), AblationError> {
    let mine: Vec<_> = trials.iter().enumerate().filter(|(index, _)| share.has(*index)).map(|(_, trial)| trial).collect();
    for (index, trial) in mine.iter().enumerate() {
        let folder = folder(out, trial);
        log::info!("run {} of {}: {}, seed {}", index + 1, mine.len(), trial.variant, trial.seed);
        if folder.join(SCORES).exists() {
            log::info!("{} is measured already", folder.display());
            continue;
        }
        let started = folder.join(training::RECIPE).exists();
        let recipe = with_teacher(trial, trials, out)?;
        training::train_on(devices, &recipe, &folder, started)?;
        let scores = scores::measure(&folder, &recipe, &plan.evaluation)?;
        let text = serde_json::to_string(&scores).expect("scores are plain values");
        write(&folder.join(SCORES), text.as_bytes())?;
    }
    Ok(())
}

/// The recipe of a run; a teacher that is another run is written as ONNX beside that run's scores.
fn with_teacher(trial: &Trial, trials: &[Trial], out: &Path) -> Result<Recipe, AblationError> {
    let mut recipe = trial.recipe.clone();
    let is_teacher = |other: &&Trial| trial.taught_by.as_ref().is_some_and(|run| run.is(other));
    if let Some(teacher) = trials.iter().find(is_teacher) {
        let run = folder(out, teacher);
        if !run.join(SCORES).exists() {
            return Err(AblationError::NoTeacher { variant: trial.variant.clone(), run });
        }
        let model = packing::in_full_precision(&run, &teacher.recipe, recipe.windows()[0])?;
        let file = run.join(plan::TEACHER);
        write(&file, &onnx::export(&model, onnx::Outputs::Last)?)?;
        recipe.set_teacher(&file);
    }
    Ok(recipe)
}

/// The scores of the plan's runs that are measured.
///
/// # Errors
/// If a file of scores cannot be read.
pub fn table(trials: &[Trial], out: &Path, difficulty: &str) -> Result<Table, AblationError> {
    // Variant after variant as the plan has them, whichever of their runs are measured.
    let mut by_variant: Vec<_> = trials.iter().collect();
    by_variant.sort_by_key(|trial| trials.iter().position(|other| other.variant == trial.variant));
    let mut table = Table::new(difficulty);
    for trial in by_variant {
        let path = folder(out, trial).join(SCORES);
        if path.exists() {
            let text = fs::read_to_string(&path).map_err(AblationError::file(&path))?;
            let scores = serde_json::from_str(&text).map_err(|source| AblationError::Scores { path, source })?;
            table.add(&trial.variant, trial.seed, scores);
        }
    }
    Ok(table)
}

fn folder(out: &Path, trial: &Trial) -> PathBuf {
    out.join(&trial.variant).join(format!("seed-{}", trial.seed))
}

/// Whole or not at all, though another share of the ablation may write the same file.
fn write(path: &Path, contents: &[u8]) -> Result<(), AblationError> {
    let part = path.with_extension(format!("{}.part", process::id()));
    fs::write(&part, contents).map_err(AblationError::file(&part))?;
    fs::rename(&part, path).map_err(AblationError::file(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_cover_every_run_once() {
        let shares: Vec<Share> = (1..=3).map(|i| format!("{i}/3").parse().unwrap()).collect();
        for run in 0..10 {
            assert_eq!(shares.iter().filter(|share| share.has(run)).count(), 1);
        }
        assert!((0..10).all(|run| Share::ALL.has(run)));
        for wrong in ["", "1", "0/3", "4/3", "1/0", "a/b", "1/2/3"] {
            assert!(wrong.parse::<Share>().unwrap_err().contains("2/8"), "{wrong}");
        }
    }
}
