//! KITTI's label files; a 16th column is how sure the label is.

use super::{DataError, Object};
use onebit_detector::frames::kitti::{self, Label};
use std::path::Path;

pub(super) fn read(path: &Path) -> Result<Vec<Object>, DataError> {
    let object = |label: Label| {
        let weight = label.score.unwrap_or(1.0);
        if weight > 0.0 && weight <= 1.0 {
            Ok(Object { bbox: label.bbox(), kind: label.class, ignored: false, weight: weight as f32 })
        } else {
            Err(DataError::Score { path: path.into(), class: label.class, score: weight })
        }
    };
    kitti::read(path)?.into_iter().map(object).collect()
}
