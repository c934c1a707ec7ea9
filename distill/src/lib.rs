//! Trains the one-bit detector, offline.
//!
//! # The way of a training run
//! 1. [`recipe`] reads the YAML file that describes the run and checks every value.
//! 2. [`data`] lists the frames, and makes one batch after the other: decoded, moved, coloured, all from a seed.
//! 3. [`student`] is the training graph, built from the same [`onebit_detector::network::Network`] that the engine runs:
//!    latent weights, binary in the forward pass, straight-through gradients. [`weights`] reads those of other programs
//!    to start from.
//! 4. [`heads`] turns the graph's output and the labelled boxes into a loss, one file for each kind of head.
//! 5. [`teacher`] runs a full-precision network on the same pictures, and [`transfer`] turns its features and the student's
//!    into further terms of the loss.
//! 6. [`training`] is the loop: stages, optimiser, schedule, metrics, checkpoints from which a killed run goes on exactly.
//! 7. [`packing`] folds batch norm, packs the signs, calibrates and writes the model file.
//!
//! [`device`] is where a run computes: the CPU, or a GPU if it was built for one.
//!
//! Beside the run: [`anchors`] fits box priors to the labels, [`synth`] draws a labelled set for tests and first steps,
//! [`report`] plots a run and gathers several into a table, [`ablation`] compares runs.

pub mod ablation;
pub mod anchors;
pub mod data;
pub mod device;
pub mod heads;
pub mod packing;
pub mod recipe;
pub mod report;
pub mod student;
pub mod synth;
pub mod teacher;
pub mod training;
pub mod transfer;
pub mod weights;
