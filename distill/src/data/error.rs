//! Why frames or labels cannot be used.

use onebit_detector::frames::{images::ImageFileError, kitti::LabelError};
use std::path::PathBuf;
use thiserror::Error;

/// A data set, frame or label file that cannot be used, and why.
#[derive(Debug, Error)]
pub enum DataError {
    /// Images cannot be listed or decoded.
    #[error(transparent)]
    Image(#[from] ImageFileError),
    /// A label file cannot be read.
    #[error(transparent)]
    Label(#[from] LabelError),
    /// A label file of another format cannot be read.
    #[error("{}: {reason}", path.display())]
    Labels {
        /// The file.
        path: PathBuf,
        /// Where in it, and what is wrong.
        reason: String,
    },
    /// A score that says nothing about how sure a label is.
    #[error("{}: a {class} has the score {score}; in training data a score is above 0 and at most 1", path.display())]
    Score {
        /// The label file.
        path: PathBuf,
        /// The label's type.
        class: String,
        /// Its score.
        score: f64,
    },
    /// A set without a single labelled image.
    #[error("{}: no image here has a label file of the same name in {}", images.display(), labels.display())]
    Empty {
        /// Folder of the images.
        images: PathBuf,
        /// Folder of the labels.
        labels: PathBuf,
    },
    /// A set of which no frame can be used.
    #[error("{}: every frame of this set is broken", .0.display())]
    AllBroken(PathBuf),
}
