//! A model in memory: network, weights, activation ranges, provenance.

use super::LayerWeights;
use crate::network::Network;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A network with its weights, and what must be known to run it and to trust it.
#[derive(Clone, Debug, PartialEq)]
pub struct Model {
    /// What the detector is.
    pub network: Network,
    /// Weights of each layer of the network.
    pub weights: Vec<LayerWeights>,
    /// How each layer's output is kept as bytes in int8 mode; `None` if the model was never calibrated (f32 mode only).
    pub quantization: Option<Vec<Quantization>>,
    /// How an image becomes the network's input.
    pub preprocessing: Preprocessing,
    /// Where the weights come from.
    pub provenance: Provenance,
}

/// `real = scale · (byte − zero_point)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Quantization {
    /// Above 0.
    pub scale: f32,
    /// The byte that stands for 0.
    pub zero_point: u8,
}

/// How an image becomes the network's input: red, green, blue, each divided by 255, letterboxed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preprocessing {
    /// Grey value of the letterbox's bars.
    pub fill: u8,
}

impl Default for Preprocessing {
    /// Darknet's mid grey.
    fn default() -> Self {
        Self { fill: 128 }
    }
}

/// Where the weights come from. Everything is optional and for people.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Provenance {
    /// What wrote the file: program and version.
    pub created_by: String,
    /// Data it was trained on, with licences and credits.
    pub dataset: String,
    /// The teacher whose features it learned from.
    pub teacher: String,
    /// Commit of the training program.
    pub commit: String,
    /// Measured figures by name, such as `camvid/val car AP50`.
    pub metrics: BTreeMap<String, f64>,
}
