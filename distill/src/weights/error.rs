//! Why a file of weights is refused.

use std::{io, path::PathBuf};
use thiserror::Error;

/// A file of weights that cannot be used.
#[derive(Debug, Error)]
#[error("{}: {reason}", path.display())]
pub struct WeightsError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    #[source]
    pub reason: Reason,
}

/// What is wrong with a file of weights.
#[derive(Debug, Error)]
pub enum Reason {
    /// It cannot be read.
    #[error("{0}")]
    Read(io::Error),
    /// It does not begin or end as a Darknet file does.
    #[error("not a Darknet weights file: {0}")]
    NotDarknet(String),
    /// A Darknet file whose values do not end where a layer ends.
    #[error("holds {found} values; {}: cut off, or weights of another network", nearest(below, above))]
    Length {
        /// Values after the header.
        found: usize,
        /// The last layer that is whole, and how many values it takes up to its end.
        below: Option<(String, usize)>,
        /// The layer in which the file ends, and how many values it takes up to its end.
        above: Option<(String, usize)>,
    },
    /// It is no safetensors file.
    #[error("not a safetensors file: {0}")]
    NotSafetensors(String),
    /// A tensor is missing.
    #[error("has no tensor '{tensor}' of shape {shape:?}")]
    Missing {
        /// Its name.
        tensor: String,
        /// The shape that it should have.
        shape: Vec<usize>,
    },
    /// Tensors for which the network has no place.
    #[error("holds tensors for which the network has no place: {}; its own are called like '{example}'", list(tensors))]
    Unused {
        /// Their names.
        tensors: Vec<String>,
        /// A name that the network knows.
        example: String,
    },
    /// A tensor has another shape.
    #[error("tensor '{tensor}' has the shape {found:?}, must have {expected:?}")]
    Shape {
        /// Its name.
        tensor: String,
        /// In the file.
        found: Vec<usize>,
        /// In the network.
        expected: Vec<usize>,
    },
    /// A tensor is of another type.
    #[error("tensor '{tensor}' is of type {found}, must be F32")]
    Type {
        /// Its name.
        tensor: String,
        /// In the file.
        found: String,
    },
    /// A value that no weight can have: not a number, infinite, or a variance below zero.
    #[error("layer '{layer}', {part}[{index}]: {value} is impossible; damaged, or weights of another network")]
    Value {
        /// The layer.
        layer: String,
        /// Which of its tensors.
        part: &'static str,
        /// Where in it, from 0.
        index: usize,
        /// The value.
        value: f32,
    },
}

fn nearest(below: &Option<(String, usize)>, above: &Option<(String, usize)>) -> String {
    let told =
        |layer: &Option<(String, usize)>| layer.as_ref().map(|(name, values)| format!("{values} up to the end of '{name}'"));
    let ends: Vec<_> = [told(below), told(above)].into_iter().flatten().collect();
    format!("the network takes {}", ends.join(", "))
}

fn list(names: &[String]) -> String {
    const SHOWN: usize = 5;
    let shown = names.iter().take(SHOWN).map(|name| format!("'{name}'")).collect::<Vec<_>>().join(", ");
    if names.len() > SHOWN { format!("{shown} and {} more", names.len() - SHOWN) } else { shown }
}
