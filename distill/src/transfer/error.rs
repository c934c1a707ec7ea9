//! Why a transfer cannot start or go on.

use crate::{data::DataError, teacher::TeacherError};
use onebit_detector::network::Shape;
use thiserror::Error;

/// A transfer that cannot start or go on, and why.
#[derive(Debug, Error)]
pub enum TransferError {
    /// The teacher cannot be used.
    #[error(transparent)]
    Teacher(#[from] TeacherError),
    /// A frame or label is wrong.
    #[error(transparent)]
    Data(#[from] DataError),
    /// No adapter leads from the student's layer to the tap.
    #[error(
        "transfer term '{term}': neither size is a multiple of the other: {student} in the student, {tap} in the teacher \
         (channels x height x width)"
    )]
    Sizes {
        /// The term.
        term: String,
        /// The student's layer.
        student: Shape,
        /// The teacher's tensor.
        tap: Shape,
    },
    /// The tap's size does not follow the window's as the layer's does.
    #[error(
        "transfer term '{term}': {student} in the student and {tap} in the teacher (channels x height x width) in one of the \
         'windows' are not in the same ratio as in the first one"
    )]
    Windows {
        /// The term.
        term: String,
        /// The student's layer.
        student: Shape,
        /// The teacher's tensor.
        tap: Shape,
    },
    /// Output transfer from another head.
    #[error("transfer term '{term}': output transfer needs a teacher with the student's head, {student}; the tap is {tap}")]
    Head {
        /// The term.
        term: String,
        /// The student's last layer.
        student: Shape,
        /// The teacher's tensor.
        tap: Shape,
    },
    /// A tap that says nothing.
    #[error("the teacher's tensor '{tensor}' {reason}")]
    Features {
        /// The tensor.
        tensor: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A term that teaches nothing.
    #[error("transfer term '{term}' was exactly zero for {steps} steps: it teaches nothing")]
    Silent {
        /// The term.
        term: String,
        /// For how long.
        steps: usize,
    },
}
