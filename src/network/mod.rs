//! What a detector is: one value, [`Network`], from which everything else is made.
//!
//! The training graph, the engine's plan, the ONNX export and the counts of parameters, operations and bytes all read
//! this value; none of them keeps a second description. A network is a list of layers in the order of evaluation, each
//! naming its inputs, and ends in a [`Head`] that says what the numbers of the last layer mean.
//!
//! A [`Network`] that exists is valid: [`Network::new`] and deserialisation check every layer, infer every shape
//! (`[channels, height, width]`, the batch is not part of the description) and refuse sizes that no detector has, so
//! that a hostile file cannot make a reader allocate.
//!
//! The three networks of Xu et al. (arXiv 1804.06332) are built by [`NetworkSpec`]: DarkNet-19 YOLO-v2 with and without
//! the 64-channel convolution in the passthrough, and MobileNet-v1 YOLO-v2.

mod builder;
mod count;
mod darknet;
mod error;
mod head;
mod layer;
mod mobilenet;
mod spec;

pub use count::Counts;
pub use error::NetworkError;
pub use head::{Anchor, Head, RegionHead};
pub use layer::{Activation, Convolution, Depthwise, Layer, Operation, Precision, Shape, Source};
pub use spec::{InputSize, NetworkSpec, Topology, default_anchors};

use serde::{Deserialize, Serialize};

/// The largest number of products that one output may sum.
///
/// With 8-bit activations the sum then stays below 2²⁴, where `f32` is still exact.
pub const MAX_PRODUCTS: usize = 65_793;
/// The largest side of an input image, in pixels.
pub const MAX_INPUT_SIDE: usize = 8192;
/// The largest number of layers.
pub const MAX_LAYERS: usize = 512;
/// The largest number of classes.
pub const MAX_CLASSES: usize = 1024;
/// The largest number of channels of any layer.
pub const MAX_CHANNELS: usize = 65_536;
/// The largest number of values in the output of one layer.
pub const MAX_VALUES: usize = 1 << 28;

/// A detector: layers in order of evaluation, classes, input size and head. Always valid.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Description", into = "Description")]
pub struct Network {
    description: Description,
    shapes: Vec<Shape>,
}

/// The fields of a [`Network`] as they stand in a file, not yet checked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Description {
    /// What the network is called, for people.
    pub name: String,
    /// Size of the image that the first layer reads.
    pub input: InputSize,
    /// Names of the classes, in the order of the head's outputs.
    pub classes: Vec<String>,
    /// The layers, each after all of its inputs. The last one feeds the head.
    pub layers: Vec<Layer>,
    /// What the last layer's outputs mean.
    pub head: Head,
}

impl Network {
    /// Checks a description and infers the shapes of its layers.
    ///
    /// # Errors
    /// Names the first layer (or field) that is wrong, and what would be right.
    pub fn new(description: Description) -> Result<Self, NetworkError> {
        let shapes = layer::check(&description)?;
        Ok(Self { description, shapes })
    }

    /// What the network is called, for people.
    pub fn name(&self) -> &str {
        &self.description.name
    }

    /// Size of the image that the first layer reads.
    pub fn input(&self) -> InputSize {
        self.description.input
    }

    /// Shape of the image that the first layer reads: three channels (red, green, blue).
    pub fn input_shape(&self) -> Shape {
        self.description.input.shape()
    }

    /// Names of the classes, in the order of the head's outputs.
    pub fn classes(&self) -> &[String] {
        &self.description.classes
    }

    /// The layers in order of evaluation.
    pub fn layers(&self) -> &[Layer] {
        &self.description.layers
    }

    /// What the last layer's outputs mean.
    pub fn head(&self) -> &Head {
        &self.description.head
    }

    /// Output shape of every layer, in the order of [`Network::layers`].
    pub fn shapes(&self) -> &[Shape] {
        &self.shapes
    }

    /// Output shape of the last layer, which the head decodes.
    pub fn output_shape(&self) -> Shape {
        self.shapes[self.shapes.len() - 1]
    }

    /// Shape of what a layer reads: its inputs, one after the other on the channel axis.
    pub fn source_shape(&self, source: Source) -> Shape {
        match source {
            Source::Image => self.input_shape(),
            Source::Layer(index) => self.shapes[index],
        }
    }

    /// The same network for another input size. Anchors, which are in cells, stay as they are.
    ///
    /// # Errors
    /// As [`Network::new`]: a size that the layers cannot divide is refused.
    pub fn with_input(&self, input: InputSize) -> Result<Self, NetworkError> {
        Self::new(Description { input, ..self.description.clone() })
    }

    /// Names of the convolutions with one bit per weight.
    pub fn binary_layers(&self) -> impl Iterator<Item = &str> {
        let binary = |layer: &&Layer| matches!(&layer.operation, Operation::Convolution(convolution) if convolution.precision == Precision::Binary);
        self.layers().iter().filter(binary).map(|layer| layer.name.as_str())
    }

    /// The same network with no binary layer, such as a teacher of the same topology.
    pub fn in_full_precision(&self) -> Self {
        self.with_full_precision(|_| true)
    }

    /// The same network with full-precision weights in the layers that are `kept`, by name.
    fn with_full_precision(&self, kept: impl Fn(&str) -> bool) -> Self {
        let mut network = self.clone();
        for layer in network.description.layers.iter_mut().filter(|layer| kept(&layer.name)) {
            if let Operation::Convolution(convolution) = &mut layer.operation {
                convolution.precision = Precision::Full;
            }
        }
        network
    }
}

impl TryFrom<Description> for Network {
    type Error = NetworkError;

    fn try_from(description: Description) -> Result<Self, NetworkError> {
        Self::new(description)
    }
}

impl From<Network> for Description {
    fn from(network: Network) -> Self {
        network.description
    }
}

#[cfg(test)]
mod tests;
