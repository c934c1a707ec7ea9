//! Why a run stops.

use super::TeacherFile;
use crate::{data::DataError, device::DeviceError, recipe::RecipeError, transfer::TransferError, weights::WeightsError};
use burn::store::RecordError;
use std::{io, path::PathBuf};
use thiserror::Error;

/// A run that cannot start or go on, and why.
#[derive(Debug, Error)]
pub enum TrainError {
    /// The recipe is wrong.
    #[error(transparent)]
    Recipe(#[from] RecipeError),
    /// A frame or label is wrong.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The teacher or what is taken from it is wrong.
    #[error(transparent)]
    Transfer(#[from] TransferError),
    /// The device cannot be used.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// The weights to start from are wrong.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// Too few frames.
    #[error(
        "stage '{stage}': an epoch of {frames} frames does not fill one batch of {batch}; a stage without taps has labelled frames alone"
    )]
    NoBatch {
        /// The stage's name.
        stage: String,
        /// Frames in an epoch.
        frames: usize,
        /// Pictures in a batch.
        batch: usize,
    },
    /// The folder holds a run.
    #[error("{}: holds a run already; resume it or choose another folder", .0.display())]
    Exists(PathBuf),
    /// The folder holds no run.
    #[error("{}: no checkpoint here to resume from", .0.display())]
    NoCheckpoint(PathBuf),
    /// Another kind of optimiser cannot use what this run's one remembers.
    #[error("{}: the run was started with the other 'optimizer.kind'; resume it with the same one", .0.display())]
    Optimizer(PathBuf),
    /// The teacher's file is not the one that the run has learned from.
    #[error(
        "{}: its SHA-256 is {}, but the run was started with a teacher of {} (then {}); resume it with that file",
        found.path.display(), found.sha256, kept.sha256, kept.path.display()
    )]
    OtherTeacher {
        /// The run's teacher.
        kept: TeacherFile,
        /// The one with which it was to be resumed.
        found: TeacherFile,
    },
    /// A file of the run cannot be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The metrics cannot be written or read back.
    #[error("{}: {source}", path.display())]
    Csv {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: csv::Error,
    },
    /// A checkpoint is damaged, or of another network.
    #[error("{}: {reason}", path.display())]
    Checkpoint {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The run has diverged.
    #[error("step {step}: {what} is no longer a number; a lower learning rate may help. The last checkpoint is intact")]
    NotANumber {
        /// The step, from 1.
        step: u64,
        /// Which term of the loss, or the gradients.
        what: String,
    },
}

impl TrainError {
    pub(super) fn file(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        |source| Self::File { path, source }
    }

    pub(super) fn record(path: impl Into<PathBuf>) -> impl FnOnce(RecordError) -> Self {
        let path = path.into();
        |error| Self::Checkpoint { path, reason: error.to_string() }
    }
}
