//! Result files of any detector, beside the labels.

use super::Frame;
use crate::frames::kitti::{self, LabelError};
use std::{
    ffi::OsStr,
    fs, io,
    path::{Path, PathBuf},
};
use thiserror::Error;

/// How many missing files an error names.
const NAMED: usize = 5;

/// Labels and results that do not make a set of frames.
#[derive(Debug, Error)]
pub enum ResultsError {
    /// The folder of labels cannot be read.
    #[error("{}: {source}", path.display())]
    Io {
        /// The folder.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// There is nothing to evaluate.
    #[error("{}: no label file (*.txt) in this folder", path.display())]
    NoLabels {
        /// The folder.
        path: PathBuf,
    },
    /// Frames without a result file.
    #[error("{}: {} of {frames} frames have no result file (an empty one says that nothing was found): {}", path.display(),
        missing.len(), first(missing))]
    Missing {
        /// The folder of results.
        path: PathBuf,
        /// Number of label files.
        frames: usize,
        /// File names that were looked for, sorted.
        missing: Vec<String>,
    },
    /// A label or result file cannot be read.
    #[error(transparent)]
    Label(#[from] LabelError),
}

fn first(missing: &[String]) -> String {
    let more = if missing.len() > NAMED { ", …" } else { "" };
    missing[..missing.len().min(NAMED)].join(", ") + more
}

/// Pairs each label file of one folder with the result file of the same name in another. As in the official test, every
/// frame needs a result file: a detector is not better for the frames that it leaves out.
///
/// # Errors
/// If a folder or file cannot be read, there is no label file, or a frame has no result file.
pub fn read_results(labels: &Path, results: &Path) -> Result<Vec<Frame>, ResultsError> {
    let io_error = |source| ResultsError::Io { path: labels.into(), source };
    let entries: Vec<_> = fs::read_dir(labels).map_err(io_error)?.collect::<Result<_, _>>().map_err(io_error)?;
    let mut files: Vec<_> =
        entries.iter().map(fs::DirEntry::path).filter(|p| p.extension() == Some(OsStr::new("txt"))).collect();
    files.sort();
    if files.is_empty() {
        return Err(ResultsError::NoLabels { path: labels.into() });
    }
    let pairs: Vec<_> =
        files.iter().map(|label| (label, results.join(label.file_name().expect("a folder's entry has a name")))).collect();
    let missing: Vec<_> = pairs.iter().filter(|(_, result)| !result.is_file()).map(|(label, _)| name(label)).collect();
    if !missing.is_empty() {
        return Err(ResultsError::Missing { path: results.into(), frames: files.len(), missing });
    }
    pairs
        .iter()
        .map(|(label, result)| {
            Ok(Frame { name: name(label), labels: kitti::read(label)?, detections: kitti::read(result)? })
        })
        .collect()
}

fn name(file: &Path) -> String {
    file.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
