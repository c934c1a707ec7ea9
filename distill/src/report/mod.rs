//! What has become of runs: curves of one as a picture, several in one table.

mod history;
mod plot;
pub(crate) mod surface;
mod table;

pub use history::History;
pub use plot::plot;
pub use table::Table;

use crate::{recipe::RecipeError, training::TrainError};
use std::{io, path::PathBuf};
use thiserror::Error;

/// The name under which a run's plot is kept in its folder.
pub const PLOT: &str = "loss.png";
/// The name under which an evaluation of the run (`onebit eval kitti --json`) is looked for in its folder.
pub const EVALUATION: &str = "evaluation.json";

/// A run that cannot be reported on, and why.
#[derive(Debug, Error)]
pub enum ReportError {
    /// The run's recipe cannot be read.
    #[error(transparent)]
    Recipe(#[from] RecipeError),
    /// The run's checkpoint cannot be read.
    #[error(transparent)]
    Checkpoint(#[from] TrainError),
    /// The metrics cannot be read.
    #[error("{}: {source}", path.display())]
    Csv {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: csv::Error,
    },
    /// A value of the metrics is no number, or a column is missing.
    #[error("{}: {reason}", path.display())]
    Metrics {
        /// The file.
        path: PathBuf,
        /// Where, and what is wrong.
        reason: String,
    },
    /// An evaluation cannot be read.
    #[error("{}: {source}", path.display())]
    Evaluation {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// A file cannot be read.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// There is nothing to plot yet.
    #[error("{}: no epoch is done yet", .0.display())]
    NoEpoch(PathBuf),
}
