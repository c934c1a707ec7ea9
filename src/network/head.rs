//! What the last layer's outputs mean. One variant for each kind of detector.

use super::NetworkError;
use serde::{Deserialize, Serialize};

/// The end of a network. Decoding and training losses dispatch on it; nothing else asks which head it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Head {
    /// YOLO-v2's region layer.
    Region(RegionHead),
}

impl Head {
    /// Channels that the head reads.
    pub fn outputs(&self, classes: usize) -> usize {
        match self {
            Self::Region(region) => region.anchors.len() * RegionHead::outputs_per_anchor(classes),
        }
    }

    pub(super) fn check(&self) -> Result<(), NetworkError> {
        match self {
            Self::Region(region) => region.check(),
        }
    }
}

/// YOLO-v2's region layer (Redmon and Farhadi, arXiv 1612.08242, §2): for each cell and anchor the channels
/// `tx, ty, tw, th, objectness, classes…`, anchor after anchor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegionHead {
    /// Box priors.
    pub anchors: Vec<Anchor>,
}

/// Width and height of a box prior, in grid cells.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Anchor(
    /// Width.
    pub f32,
    /// Height.
    pub f32,
);

impl RegionHead {
    /// The largest number of anchors.
    pub const MAX_ANCHORS: usize = 32;

    /// `tx, ty, tw, th, objectness` and one score for each class.
    pub fn outputs_per_anchor(classes: usize) -> usize {
        5 + classes
    }

    fn check(&self) -> Result<(), NetworkError> {
        let count = self.anchors.len();
        if count == 0 || count > Self::MAX_ANCHORS {
            return Err(NetworkError::field("anchors", format!("{count} of them, 1 to {} are possible", Self::MAX_ANCHORS)));
        }
        let bad = |side: f32| !(side > 0.0 && side <= 1024.0);
        if let Some(Anchor(w, h)) = self.anchors.iter().find(|a| bad(a.0) || bad(a.1)) {
            return Err(NetworkError::field(
                "anchors",
                format!("[{w}, {h}]: width and height are in cells, above 0 and at most 1024"),
            ));
        }
        Ok(())
    }
}
