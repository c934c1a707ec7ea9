//! Why the node does not start, or ends.

use super::parameters::ParameterError;
use crate::{detection::DetectorError, engine::EngineError, model_file::ModelError};
use std::{io, path::PathBuf};
use thiserror::Error;

/// Why the node does not start, or ends.
#[derive(Debug, Error)]
pub(super) enum NodeError {
    #[error("ROS refuses the command line or a parameter file: {0}")]
    Arguments(String),
    #[error("ROS: {0}")]
    Ros(#[from] r2r::Error),
    #[error(transparent)]
    Parameter(#[from] ParameterError),
    #[error("parameter model.path is not set, and the model that is installed with the node is not at {}: set \
             model.path to a model file", .0.display())]
    NoModel(PathBuf),
    #[error("parameter model.path: {0}")]
    Model(#[from] ModelError),
    #[error("parameter {}: {source}", culprit(source))]
    Detector {
        #[from]
        source: DetectorError,
    },
    #[error("the system gives no thread or signal: {0}")]
    System(#[from] io::Error),
    #[error("the detector's thread ended, which it never does by itself")]
    Worker,
}

/// The parameter that a detector cannot be made with.
fn culprit(error: &DetectorError) -> &'static str {
    match error {
        DetectorError::Engine(EngineError::NotCalibrated) => "model.mode",
        DetectorError::Engine(EngineError::Kernel { .. }) => "model.kernel",
        DetectorError::Engine(EngineError::Threads(_) | EngineError::Spawn(_)) => "threads",
        DetectorError::Engine(_) => "model.path",
        DetectorError::Option(_) => "score_threshold, class_thresholds, nms_iou or max_detections",
    }
}
