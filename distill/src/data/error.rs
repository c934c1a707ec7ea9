//! Why frames or labels cannot be used.

use std::{io, path::PathBuf};
use thiserror::Error;

/// A data set, frame or label file that cannot be used, and why.
#[derive(Debug, Error)]
pub enum DataError {
    /// A file or folder cannot be read.
    #[error("{}: {source}", path.display())]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// An image cannot be decoded.
    #[error("{}: {source}", path.display())]
    Image {
        /// The file.
        path: PathBuf,
        /// What the decoder says.
        source: image::ImageError,
    },
    /// A label line is not KITTI's.
    #[error("{}:{line}: {reason}", path.display())]
    Label {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// What is wrong and what would be right.
        reason: String,
    },
    /// A set without a single labelled image.
    #[error("{}: no image here has a label file of the same name in {}", images.display(), labels.display())]
    Empty {
        /// Folder of the images.
        images: PathBuf,
        /// Folder of the labels.
        labels: PathBuf,
    },
}
