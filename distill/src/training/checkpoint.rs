//! Everything that a run needs to go on exactly, in one folder that is replaced as a whole.

use super::{Learner, TrainError};
use crate::{recipe::Recipe, student::Student};
use burn::{module::Module, optim::ModuleOptimizer, store::ModuleRecord};
use serde::{Deserialize, Serialize};
use std::{
    fs::{self, File},
    mem,
    path::{Path, PathBuf},
};

/// How far a run has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Progress {
    /// The stage under way, from 0.
    pub stage: usize,
    /// Epochs done of this stage.
    pub epoch: usize,
    /// Epochs done in all.
    pub epochs: u64,
    /// Steps done in all.
    pub steps: u64,
    /// Pictures learned from in all.
    pub seen: u64,
}

impl Progress {
    /// How far the run in this folder has come.
    ///
    /// # Errors
    /// If it has no checkpoint, or a damaged one.
    pub fn of(run: &Path) -> Result<Self, TrainError> {
        load_progress(&current(run).ok_or_else(|| TrainError::NoCheckpoint(run.into()))?)
    }
}

/// Weights, optimiser and progress between two epochs.
pub struct Checkpoint {
    /// The weights.
    pub learner: Learner,
    /// A moving average of the student's weights, if the recipe wants one.
    pub average: Option<Student>,
    /// What the optimiser remembers of earlier steps.
    pub optimizer: ModuleOptimizer,
    /// How far the run has come.
    pub progress: Progress,
}

const CURRENT: &str = "checkpoint";
const NEXT: &str = "checkpoint.next";
const PREVIOUS: &str = "checkpoint.previous";
const STUDENT: &str = "student.bpk";
const AVERAGE: &str = "average.bpk";
const ADAPTERS: &str = "adapters.bpk";
const OPTIMIZER: &str = "optimizer.bpk";
const PROGRESS: &str = "progress.json";
/// The recipe of a run, within its folder.
pub const RECIPE: &str = "recipe.yaml";

/// Makes the folder of a new run and keeps the recipe in it.
pub(super) fn begin(run: &Path, recipe: &Recipe) -> Result<(), TrainError> {
    if current(run).is_some() {
        return Err(TrainError::Exists(run.into()));
    }
    fs::create_dir_all(run).map_err(TrainError::file(run))?;
    keep(run, recipe)
}

/// The recipe that a run was kept with. Refuses one whose optimiser cannot use what the run's one remembers.
pub(super) fn kept(run: &Path, recipe: &Recipe) -> Result<Recipe, TrainError> {
    current(run).ok_or_else(|| TrainError::NoCheckpoint(run.into()))?;
    let path = run.join(RECIPE);
    let kept = Recipe::load(&path)?;
    let same = mem::discriminant(&kept.optimizer) == mem::discriminant(&recipe.optimizer);
    if same { Ok(kept) } else { Err(TrainError::Optimizer(path)) }
}

/// Keeps the recipe with which a run goes on. Where that is another one than was kept (more epochs, say), the run is no
/// longer the one that either of them describes: it is told.
pub(super) fn go_on(run: &Path, mut kept: Recipe, recipe: &Recipe) -> Result<(), TrainError> {
    // Data, teacher and first weights may have moved, and a cache changes no result.
    kept.data.root.clone_from(&recipe.data.root);
    if let (Some(kept), Some(teacher)) = (&mut kept.teacher, &recipe.teacher) {
        kept.file.clone_from(&teacher.file);
        kept.cache.clone_from(&teacher.cache);
    }
    if kept.weights.is_some() && recipe.weights.is_some() {
        kept.weights.clone_from(&recipe.weights);
    }
    if kept != *recipe {
        log::warn!("the recipe is not the one that {} was started with: the run cannot be repeated", run.display());
    }
    keep(run, recipe)
}

fn keep(run: &Path, recipe: &Recipe) -> Result<(), TrainError> {
    let path = run.join(RECIPE);
    let text = serde_yaml::to_string(recipe).expect("a recipe has only plain values");
    fs::write(&path, text).map_err(TrainError::file(&path))
}

/// The run's whole checkpoint: a crash between the two renames of [`Checkpoint::save`] leaves only the one before.
fn current(run: &Path) -> Option<PathBuf> {
    [CURRENT, PREVIOUS].map(|name| run.join(name)).into_iter().find(|path| path.is_dir())
}

impl Checkpoint {
    /// Writes the checkpoint beside the old one, then puts it in its place: a run killed at any moment leaves a whole one.
    ///
    /// # Errors
    /// If the folder cannot be written.
    pub fn save(self, run: &Path) -> Result<(), TrainError> {
        let [next, current, previous] = [NEXT, CURRENT, PREVIOUS].map(|name| run.join(name));
        remove(&next)?;
        fs::create_dir(&next).map_err(TrainError::file(&next))?;
        let [student, adapters, average, optimizer, progress] =
            [STUDENT, ADAPTERS, AVERAGE, OPTIMIZER, PROGRESS].map(|name| next.join(name));
        self.learner.student.into_record().save(&student).map_err(TrainError::record(&student))?;
        let has_adapters = !self.learner.adapters.is_empty();
        if has_adapters {
            self.learner.adapters.into_record().save(&adapters).map_err(TrainError::record(&adapters))?;
        }
        self.optimizer.save(&optimizer).map_err(TrainError::record(&optimizer))?;
        let text = serde_json::to_string(&self.progress).expect("numbers");
        fs::write(&progress, text).map_err(TrainError::file(&progress))?;
        let mut files = vec![student, optimizer, progress];
        files.extend(has_adapters.then_some(adapters));
        if let Some(weights) = self.average {
            weights.into_record().save(&average).map_err(TrainError::record(&average))?;
            files.push(average);
        }
        for path in files.into_iter().chain([next.clone()]) {
            File::open(&path).and_then(|file| file.sync_all()).map_err(TrainError::file(path))?;
        }
        remove(&previous)?;
        if current.is_dir() {
            fs::rename(&current, &previous).map_err(TrainError::file(&current))?;
        }
        fs::rename(&next, &current).map_err(TrainError::file(&next))?;
        remove(&previous)
    }

    /// Reads a run's checkpoint into a learner and an optimiser made from the same recipe.
    ///
    /// # Errors
    /// If there is none, or it is damaged or of another network.
    pub fn load(run: &Path, learner: Learner, optimizer: ModuleOptimizer) -> Result<Self, TrainError> {
        let folder = current(run).ok_or_else(|| TrainError::NoCheckpoint(run.into()))?;
        let path = folder.join(OPTIMIZER);
        let optimizer = optimizer.load(&path).map_err(TrainError::record(&path))?;
        let Learner { student, mut adapters } = learner;
        let average = load_average(&folder, &student)?;
        let student = load_weights(&folder.join(STUDENT), student)?;
        if !adapters.is_empty() {
            adapters = load_weights(&folder.join(ADAPTERS), adapters)?;
        }
        Ok(Self { learner: Learner { student, adapters }, average, optimizer, progress: load_progress(&folder)? })
    }

    /// Reads only the weights to be used, into a student made from the same recipe, and how far the run has come. They are
    /// the moving average where there is one.
    ///
    /// # Errors
    /// As [`Checkpoint::load`].
    pub fn student(run: &Path, student: Student) -> Result<(Student, Progress), TrainError> {
        let folder = current(run).ok_or_else(|| TrainError::NoCheckpoint(run.into()))?;
        let student = match load_average(&folder, &student)? {
            Some(average) => average,
            None => load_weights(&folder.join(STUDENT), student)?,
        };
        Ok((student, load_progress(&folder)?))
    }
}

fn load_average(folder: &Path, student: &Student) -> Result<Option<Student>, TrainError> {
    let path = folder.join(AVERAGE);
    path.is_file().then(|| load_weights(&path, student.clone())).transpose()
}

fn load_weights<M: Module>(path: &Path, module: M) -> Result<M, TrainError> {
    let record = ModuleRecord::load(path).map_err(TrainError::record(path))?;
    module.try_load_record(record).map_err(TrainError::record(path))
}

fn load_progress(folder: &Path) -> Result<Progress, TrainError> {
    let path = folder.join(PROGRESS);
    let text = fs::read_to_string(&path).map_err(TrainError::file(&path))?;
    serde_json::from_str(&text).map_err(|e| TrainError::Checkpoint { path, reason: e.to_string() })
}

fn remove(folder: &Path) -> Result<(), TrainError> {
    if folder.is_dir() { fs::remove_dir_all(folder).map_err(TrainError::file(folder)) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{recipe::Binarization, transfer::Adapter};
    use burn::{optim::AdamConfig, tensor::Device};
    use onebit_detector::network::{NetworkSpec, Shape, Topology};

    fn student(width: f64) -> Student {
        let spec = NetworkSpec { width, ..NetworkSpec::preset(Topology::DarknetYolo64) };
        Student::new(&spec.build().unwrap(), Binarization::default(), &Device::flex())
    }

    fn learner() -> Learner {
        let shape = |channels| Shape { channels, height: 2, width: 2 };
        let adapter = Adapter::new(shape(8), shape(16), true, &Device::flex());
        Learner { student: student(0.125), adapters: vec![adapter] }
    }

    fn save(run: &Path, epochs: u64) {
        let progress = Progress { epochs, ..Progress::default() };
        let (learner, average) = (learner(), Some(student(0.125)));
        Checkpoint { learner, average, optimizer: AdamConfig::new().init(), progress }.save(run).unwrap();
    }

    fn load(run: &Path) -> Result<Progress, TrainError> {
        Checkpoint::load(run, learner(), AdamConfig::new().init()).map(|checkpoint| checkpoint.progress)
    }

    #[test]
    fn wherever_saving_is_cut_off_a_whole_checkpoint_remains() {
        let folder = tempfile::tempdir().unwrap();
        let run = folder.path();
        save(run, 1);
        save(run, 2);
        assert_eq!(load(run).unwrap().epochs, 2);

        fs::create_dir(run.join(NEXT)).unwrap();
        fs::write(run.join(NEXT).join(STUDENT), b"half a file").unwrap();
        assert_eq!(load(run).unwrap().epochs, 2, "while the next one is being written");

        fs::rename(run.join(CURRENT), run.join(PREVIOUS)).unwrap();
        assert_eq!(load(run).unwrap().epochs, 2, "between the two renames");

        save(run, 3);
        assert_eq!(load(run).unwrap().epochs, 3, "the rests are in nobody's way");
        assert!(!run.join(NEXT).exists() && !run.join(PREVIOUS).exists());
    }

    #[test]
    fn a_damaged_or_foreign_checkpoint_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let run = folder.path();
        assert!(matches!(load(run), Err(TrainError::NoCheckpoint(_))));
        save(run, 1);
        let wrong = Checkpoint::student(run, student(0.25)).unwrap_err().to_string();
        assert!(wrong.contains(AVERAGE), "{wrong}");
        for name in [STUDENT, ADAPTERS, AVERAGE, OPTIMIZER, PROGRESS] {
            save(run, 1);
            fs::write(run.join(CURRENT).join(name), b"{").unwrap();
            let wrong = load(run).unwrap_err().to_string();
            assert!(wrong.contains(name), "{wrong}");
        }
    }
}
