//! A model's own detections on labelled pictures.

use super::Frame;
use crate::{
    detection::{Detector, DetectorError, DetectorOptions, ImageView},
    engine,
    frames::{
        images::{self, ImageFileError},
        kitti::{self, LabelError},
    },
    model_file::Model,
};
use std::path::{Path, PathBuf};
use thiserror::Error;

/// The lowest score of a box that takes part, as in Darknet's validation: the curves need the doubtful ones too.
const LOWEST_SCORE: f32 = 0.005;
/// Boxes of a picture, at most: those beyond add nothing to the curves.
const MAX_DETECTIONS: usize = 300;

/// A model that cannot be run on labelled pictures, and why.
#[derive(Debug, Error)]
pub enum RunError {
    /// The engine cannot run the model.
    #[error(transparent)]
    Detector(#[from] DetectorError),
    /// A picture cannot be read.
    #[error(transparent)]
    Picture(#[from] ImageFileError),
    /// A picture's label file cannot be read.
    #[error(transparent)]
    Label(#[from] LabelError),
}

/// Runs a model on pictures, one by one.
pub struct Run {
    detector: Detector,
    classes: Vec<String>,
    pictures: std::vec::IntoIter<PathBuf>,
    labels: PathBuf,
}

impl Run {
    /// Prepares the run of a model on the pictures of one folder, whose label files lie in another under the same names.
    ///
    /// # Errors
    /// If the engine cannot run the model, or there are no pictures.
    pub fn new(model: &Model, options: &engine::Options, pictures: &Path, labels: &Path) -> Result<Self, RunError> {
        let pictures = images::list(&[pictures])?.into_iter();
        let bounds =
            DetectorOptions { score_threshold: LOWEST_SCORE, max_detections: MAX_DETECTIONS, ..DetectorOptions::default() };
        let detector = Detector::new(model, options, bounds)?;
        Ok(Self { detector, classes: model.network.classes().to_vec(), pictures, labels: labels.into() })
    }

    fn frame(&mut self, path: &Path) -> Result<Frame, RunError> {
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let labels = kitti::read(&self.labels.join(&name).with_added_extension("txt"))?;
        let picture = images::decode(path)?;
        let view = ImageView::from_rgb(&picture).expect("a decoded picture has pixels");
        let detections = kitti::detected(self.detector.detect(&view), &self.classes);
        Ok(Frame { name, labels, detections })
    }
}

impl Iterator for Run {
    type Item = Result<Frame, RunError>;

    fn next(&mut self) -> Option<Self::Item> {
        let path = self.pictures.next()?;
        Some(self.frame(&path))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.pictures.size_hint()
    }
}
