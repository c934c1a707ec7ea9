//! What a run trains.

use crate::{student::Student, transfer::Adapter};
use burn::module::Module;

/// The student, and the adapters that stand between it and a teacher: none without one.
#[derive(Module, Debug)]
pub struct Learner {
    /// What is packed in the end.
    pub student: Student,
    /// One for each tap.
    pub adapters: Vec<Adapter>,
}
