//! The configuration from which a network is built, as it stands in a YAML file or on the command line.

use super::{Anchor, Head, Network, NetworkError, RegionHead, Shape, darknet, mobilenet};
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// What to build: topology, width, input, classes and anchors.
///
/// ```
/// use onebit_detector::network::{NetworkSpec, Topology};
/// let spec: NetworkSpec = serde_yaml::from_str("topology: darknet-yolo\nwidth: 0.25\ninput: 416x128").unwrap();
/// assert_eq!(spec.topology, Topology::DarknetYolo);
/// assert_eq!(spec.build().unwrap().output_shape().width, 13);
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkSpec {
    /// Which of the three networks.
    pub topology: Topology,
    /// Factor on the number of filters of every convolution but the last, rounded to a multiple of 8.
    #[serde(default = "default_width")]
    pub width: f64,
    /// Size of the input image; both sides are multiples of 32.
    #[serde(default = "default_input")]
    pub input: InputSize,
    /// Names of the classes.
    #[serde(default = "default_classes")]
    pub classes: Vec<String>,
    /// Box priors in cells of 32 pixels of the input; without them, [`default_anchors`] of the input size.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub anchors: Option<Vec<Anchor>>,
    /// Convolutions that keep full-precision weights, beside the first and the last one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub full_precision: Vec<String>,
}

/// The networks that can be built by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Topology {
    /// DarkNet-19 YOLO-v2, the whole 512-channel map in the passthrough (`yolo-voc.2.0.cfg`).
    DarknetYolo,
    /// DarkNet-19 YOLO-v2 with a 64-channel convolution in the passthrough (`yolov2-voc.cfg`).
    #[serde(rename = "darknet-yolo-64")]
    DarknetYolo64,
    /// MobileNet-v1 with YOLO-v2's head.
    MobilenetYolo,
}

impl Topology {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::DarknetYolo, Self::DarknetYolo64, Self::MobilenetYolo];

    /// The name in files and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::DarknetYolo => "darknet-yolo",
            Self::DarknetYolo64 => "darknet-yolo-64",
            Self::MobilenetYolo => "mobilenet-yolo",
        }
    }
}

impl fmt::Display for Topology {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Topology {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        Self::ALL.into_iter().find(|t| t.name() == text).ok_or_else(|| {
            let known = Self::ALL.map(Self::name).join(", ");
            NetworkError::field("topology", format!("'{text}' is not one of {known}"))
        })
    }
}

/// Width and height of the input image in pixels; written `WIDTHxHEIGHT`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct InputSize {
    /// Columns.
    pub width: usize,
    /// Rows.
    pub height: usize,
}

impl InputSize {
    /// The image's shape, `[3, height, width]`.
    pub fn shape(self) -> Shape {
        Shape { channels: 3, height: self.height, width: self.width }
    }
}

impl fmt::Display for InputSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}", self.width, self.height)
    }
}

impl FromStr for InputSize {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let sides = text.split_once('x').and_then(|(w, h)| Some((w.parse().ok()?, h.parse().ok()?)));
        let (width, height) =
            sides.ok_or_else(|| NetworkError::field("input", format!("'{text}' is not WIDTHxHEIGHT, such as 416x416")))?;
        Ok(Self { width, height })
    }
}

impl TryFrom<String> for InputSize {
    type Error = NetworkError;

    fn try_from(text: String) -> Result<Self, NetworkError> {
        text.parse()
    }
}

impl From<InputSize> for String {
    fn from(size: InputSize) -> Self {
        size.to_string()
    }
}

fn default_width() -> f64 {
    1.0
}

fn default_input() -> InputSize {
    InputSize { width: 416, height: 416 }
}

fn default_classes() -> Vec<String> {
    ["car", "pedestrian", "cyclist"].map(str::to_owned).to_vec()
}

/// k-means centres (1 − IoU) of 2,321 KITTI boxes in frames of 1248×384, in cells of 32 pixels.
const KITTI_ANCHORS: [(f32, f32); 5] = [(1.075, 1.064), (2.565, 1.481), (2.011, 4.470), (4.974, 2.645), (8.594, 5.212)];

/// Anchors for KITTI-like frames letterboxed into an input of this size.
pub fn default_anchors(input: InputSize) -> Vec<Anchor> {
    let scale = (input.width as f32 / 1248.0).min(input.height as f32 / 384.0);
    KITTI_ANCHORS.map(|(w, h)| Anchor(w * scale, h * scale)).to_vec()
}

impl NetworkSpec {
    /// A topology with everything else at its default: full width, 416×416, car, pedestrian and cyclist.
    pub fn preset(topology: Topology) -> Self {
        Self {
            topology,
            width: default_width(),
            input: default_input(),
            classes: default_classes(),
            anchors: None,
            full_precision: Vec::new(),
        }
    }

    /// Builds the network.
    ///
    /// # Errors
    /// Names the field that is out of range.
    pub fn build(&self) -> Result<Network, NetworkError> {
        if !(self.width > 0.0 && self.width <= 4.0) {
            return Err(NetworkError::field("width", format!("{} is not above 0 and at most 4", self.width)));
        }
        let network = match self.topology {
            Topology::DarknetYolo => darknet::build(self, false),
            Topology::DarknetYolo64 => darknet::build(self, true),
            Topology::MobilenetYolo => mobilenet::build(self),
        }?;
        let binary: Vec<_> = network.binary_layers().collect();
        match self.full_precision.iter().find(|name| !binary.contains(&name.as_str())) {
            Some(name) => {
                let reason = format!("'{name}' is not one of the binary convolutions {}", binary.join(", "));
                Err(NetworkError::field("full_precision", reason))
            }
            None => Ok(network.with_full_precision(|name| self.full_precision.iter().any(|kept| kept == name))),
        }
    }

    pub(super) fn name(&self) -> String {
        if self.width == 1.0 { self.topology.to_string() } else { format!("{} x{}", self.topology, self.width) }
    }

    pub(super) fn scaled(&self, filters: usize) -> usize {
        let eighths = (filters as f64 * self.width / 8.0).round() as usize;
        8 * eighths.max(1)
    }

    pub(super) fn head(&self) -> Head {
        Head::Region(RegionHead { anchors: self.anchors.clone().unwrap_or_else(|| default_anchors(self.input)) })
    }
}
