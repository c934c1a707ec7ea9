//! The layers, and the one place where their shapes are inferred and checked.

use super::{
    Description, InputSize, MAX_CHANNELS, MAX_CLASSES, MAX_INPUT_SIDE, MAX_LAYERS, MAX_PRODUCTS, MAX_VALUES, NetworkError,
};
use serde::{Deserialize, Serialize};
use std::{collections::HashSet, fmt};

/// Shape of a feature map: `[channels, height, width]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Shape {
    /// Channels.
    pub channels: usize,
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
}

impl Shape {
    /// Number of positions, `height · width`.
    pub fn positions(self) -> usize {
        self.height * self.width
    }

    /// Number of values, `channels · height · width`.
    pub fn values(self) -> usize {
        self.channels * self.positions()
    }

    /// What a stride leaves with same padding: `ceil(side / stride)`.
    pub(crate) fn strided(self, stride: usize) -> Self {
        Self { height: self.height.div_ceil(stride), width: self.width.div_ceil(stride), ..self }
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}x{}", self.channels, self.height, self.width)
    }
}

/// Where a layer reads from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// The network's input image.
    Image,
    /// The output of an earlier layer, by its position in the list.
    Layer(usize),
}

/// One layer: its name, what it reads and what it does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Layer {
    /// Unique within the network; tensors of the model file and taps are named after it.
    pub name: String,
    /// What it reads. Only [`Operation::Concat`] reads more than one.
    pub inputs: Vec<Source>,
    /// What it does.
    pub operation: Operation,
}

/// What a layer does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    /// A dense convolution.
    Convolution(Convolution),
    /// A convolution of each channel by its own kernel; its weights are always full precision.
    Depthwise(Depthwise),
    /// Maximum over 2×2 windows, stride 2.
    MaxPool,
    /// Moves blocks of positions into channels (YOLO-v2's "reorg"): output channel `(dy·block + dx)·C + c` at `(y, x)` is
    /// input channel `c` at `(y·block + dy, x·block + dx)`, as ONNX `SpaceToDepth` orders them.
    SpaceToDepth {
        /// Side of a block.
        block: usize,
    },
    /// Its inputs one after the other on the channel axis.
    Concat,
}

/// A dense convolution with same padding (`kernel / 2` zeros on each side), batch norm or bias, and an activation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Convolution {
    /// Output channels.
    pub filters: usize,
    /// Side of the kernel: 1 or 3.
    pub kernel: usize,
    /// 1 or 2.
    pub stride: usize,
    /// How its weights are kept.
    pub precision: Precision,
    /// Batch norm (trained; folded in the model file) or, without it, a bias.
    pub batch_norm: bool,
    /// What follows.
    pub activation: Activation,
}

/// A depthwise 3×3 convolution with same padding, batch norm and an activation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Depthwise {
    /// 1 or 2.
    pub stride: usize,
    /// What follows.
    pub activation: Activation,
}

impl Depthwise {
    /// Side of the kernel.
    pub const KERNEL: usize = 3;
}

/// How a convolution's weights are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    /// One bit each, `α·sign(W)` with one α per filter and `sign(0) = +1`.
    Binary,
    /// 32-bit floating point.
    Full,
}

/// What follows a convolution. All are monotone and keep 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// `y = x`.
    Linear,
    /// `y = max(x, 0)`.
    Relu,
    /// `y = max(x, 0.1·x)`.
    Leaky,
}

impl Activation {
    /// Slope for negative values.
    pub fn negative_slope(self) -> f32 {
        match self {
            Self::Linear => 1.0,
            Self::Relu => 0.0,
            Self::Leaky => 0.1,
        }
    }
}

/// Checks everything that makes a description a network; returns each layer's output shape.
pub(super) fn check(network: &Description) -> Result<Vec<Shape>, NetworkError> {
    check_input(network.input)?;
    check_classes(&network.classes)?;
    network.head.check()?;
    if network.layers.is_empty() || network.layers.len() > MAX_LAYERS {
        return Err(NetworkError::field(
            "layers",
            format!("{} of them, 1 to {MAX_LAYERS} are possible", network.layers.len()),
        ));
    }
    let mut names = HashSet::new();
    let mut shapes = Vec::with_capacity(network.layers.len());
    for (index, layer) in network.layers.iter().enumerate() {
        let shape = if names.insert(&layer.name) {
            layer.output_shape(network.input, &shapes)
        } else {
            Err("another layer has this name".into())
        };
        let fail = |reason| NetworkError::Layer { index, name: layer.name.clone(), reason };
        shapes.push(shape.map_err(fail)?);
    }
    let (found, wanted) = (shapes[shapes.len() - 1].channels, network.head.outputs(network.classes.len()));
    if found != wanted {
        let reason = format!("the last layer has {found} channels, the head reads {wanted} for these classes");
        return Err(NetworkError::field("head", reason));
    }
    Ok(shapes)
}

fn check_input(input: InputSize) -> Result<(), NetworkError> {
    let fits = |side| (1..=MAX_INPUT_SIDE).contains(&side);
    if fits(input.width) && fits(input.height) {
        Ok(())
    } else {
        Err(NetworkError::field("input", format!("{input} pixels, each side must be 1 to {MAX_INPUT_SIDE}")))
    }
}

fn check_classes(classes: &[String]) -> Result<(), NetworkError> {
    if classes.is_empty() || classes.len() > MAX_CLASSES {
        return Err(NetworkError::field("classes", format!("{} of them, 1 to {MAX_CLASSES} are possible", classes.len())));
    }
    let mut seen = HashSet::new();
    for name in classes {
        if name.trim().is_empty() {
            return Err(NetworkError::field("classes", "a name is empty"));
        }
        if !seen.insert(name) {
            return Err(NetworkError::field("classes", format!("'{name}' stands twice")));
        }
    }
    Ok(())
}

impl Layer {
    /// Output shape, given the shapes of the layers before it; or what is wrong with the layer.
    fn output_shape(&self, input: InputSize, before: &[Shape]) -> Result<Shape, String> {
        if self.name.is_empty() || !self.name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
            return Err("a name is letters, digits and '_'".into());
        }
        let sources = self.source_shapes(input, before)?;
        let source = match (&self.operation, sources.as_slice()) {
            (Operation::Concat, _) => concat(&sources)?,
            (_, [one]) => *one,
            (_, many) => return Err(format!("reads {} inputs, must read one", many.len())),
        };
        let shape = self.operation.output_shape(source)?;
        // Each factor is bounded before, so the product cannot overflow.
        if shape.channels == 0 || shape.channels > MAX_CHANNELS || shape.values() > MAX_VALUES {
            return Err(format!("its output would be {shape}, too large"));
        }
        Ok(shape)
    }

    fn source_shapes(&self, input: InputSize, before: &[Shape]) -> Result<Vec<Shape>, String> {
        let shape = |source: &Source| match *source {
            Source::Image => Ok(input.shape()),
            Source::Layer(i) => {
                before.get(i).copied().ok_or_else(|| format!("reads layer {i}, which does not come before it"))
            }
        };
        self.inputs.iter().map(shape).collect()
    }
}

fn concat(sources: &[Shape]) -> Result<Shape, String> {
    let first = *sources.first().ok_or("reads nothing")?;
    if let Some(other) = sources.iter().find(|s| (s.height, s.width) != (first.height, first.width)) {
        return Err(format!("joins maps of different sizes, {first} and {other}"));
    }
    Ok(Shape { channels: sources.iter().map(|s| s.channels).sum(), ..first })
}

impl Operation {
    fn output_shape(&self, source: Shape) -> Result<Shape, String> {
        match self {
            Self::Convolution(c) => c.output_shape(source),
            Self::Depthwise(d) => strided(source, d.stride),
            Self::MaxPool => blocks(source, 2),
            Self::SpaceToDepth { block } if (2..=8).contains(block) => {
                let small = blocks(source, *block)?;
                Ok(Shape { channels: source.channels * block * block, ..small })
            }
            Self::SpaceToDepth { block } => Err(format!("a block of {block}, 2 to 8 are possible")),
            Self::Concat => Ok(source),
        }
    }
}

impl Convolution {
    fn output_shape(&self, source: Shape) -> Result<Shape, String> {
        if !matches!(self.kernel, 1 | 3) {
            return Err(format!("a kernel of {0}x{0}, 1x1 and 3x3 are possible", self.kernel));
        }
        let products = source.channels * self.kernel * self.kernel;
        if products > MAX_PRODUCTS {
            return Err(format!("{products} products in a sum, at most {MAX_PRODUCTS} are exact"));
        }
        Ok(Shape { channels: self.filters, ..strided(source, self.stride)? })
    }
}

fn strided(source: Shape, stride: usize) -> Result<Shape, String> {
    if !matches!(stride, 1 | 2) {
        return Err(format!("a stride of {stride}, 1 and 2 are possible"));
    }
    Ok(source.strided(stride))
}

/// One output position for each whole block.
fn blocks(source: Shape, block: usize) -> Result<Shape, String> {
    if !source.height.is_multiple_of(block) || !source.width.is_multiple_of(block) {
        return Err(format!(
            "its input {source} does not divide into {block}x{block} blocks: choose an input size that does"
        ));
    }
    Ok(Shape { height: source.height / block, width: source.width / block, ..source })
}
