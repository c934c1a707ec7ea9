//! Which teacher a run learns from: the checksum of its file, kept in the run's folder.

use super::TrainError;
use std::{
    fmt, fs,
    path::{Path, PathBuf},
};

/// A file within a run's folder that `sha256sum --check` understands.
const FILE: &str = "teacher.sha256";

/// The file of a teacher and its checksum.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TeacherFile {
    /// SHA-256 in hexadecimal.
    pub sha256: String,
    /// Where it was when the run began.
    pub path: PathBuf,
}

impl TeacherFile {
    /// The teacher of the run in this folder, if it has one.
    ///
    /// # Errors
    /// If what the run kept of it cannot be read.
    pub fn of(run: &Path) -> Result<Option<Self>, TrainError> {
        let path = run.join(FILE);
        if !path.exists() {
            return Ok(None);
        }
        let text = fs::read_to_string(&path).map_err(TrainError::file(&path))?;
        let kept = text.trim_end().split_once("  ").filter(|(hash, _)| is_sha256(hash));
        match kept {
            Some((sha256, file)) => Ok(Some(Self { sha256: sha256.into(), path: file.into() })),
            None => Err(TrainError::Checkpoint { path, reason: "no checksum and file name".into() }),
        }
    }

    /// Keeps the teacher of a run, unless the run has one.
    pub(super) fn keep(&self, run: &Path) -> Result<(), TrainError> {
        let path = run.join(FILE);
        if path.exists() { Ok(()) } else { fs::write(&path, format!("{self}\n")).map_err(TrainError::file(&path)) }
    }

    /// Is it the one that the run in this folder has learned from so far, wherever it lies now?
    pub(super) fn check(&self, run: &Path) -> Result<(), TrainError> {
        match Self::of(run)? {
            Some(kept) if kept.sha256 != self.sha256 => Err(TrainError::OtherTeacher { kept, found: self.clone() }),
            _ => Ok(()),
        }
    }
}

impl fmt::Display for TeacherFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}  {}", self.sha256, self.path.display())
    }
}

fn is_sha256(hash: &str) -> bool {
    hash.len() == 64 && hash.bytes().all(|digit| digit.is_ascii_hexdigit())
}
