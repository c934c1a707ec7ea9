//! From layers to nodes and constants.

use super::{
    INPUT, Outputs,
    proto::{
        AttributeProto, AttributeType, DataType, Dimension, GraphProto, NodeProto, TensorProto, TensorShape, TensorType,
        TypeProto, ValueInfoProto,
    },
};
use crate::{
    model_file::{BinaryWeights, LayerWeights, WeightShape},
    network::{Activation, Layer, Network, Operation, Shape, Source},
};

/// A graph that grows layer by layer. What a layer gives out is called after it; what lies between its nodes, and its
/// constants, are called `<layer>.<what>`, which no layer can be called.
pub(super) struct Graph<'a> {
    network: &'a Network,
    nodes: Vec<NodeProto>,
    constants: Vec<TensorProto>,
}

impl<'a> Graph<'a> {
    pub(super) fn new(network: &'a Network) -> Self {
        Self { network, nodes: Vec::new(), constants: Vec::new() }
    }

    /// Appends a layer.
    pub(super) fn layer(&mut self, index: usize, weights: &LayerWeights) {
        let layer = &self.network.layers()[index];
        match &layer.operation {
            Operation::Convolution(c) => self.convolution(index, weights, [c.stride, 1], c.activation),
            Operation::Depthwise(d) => {
                let groups = self.network.shapes()[index].channels;
                self.convolution(index, weights, [d.stride, groups], d.activation);
            }
            Operation::MaxPool => {
                let attributes = vec![ints("kernel_shape", &[2, 2]), ints("strides", &[2, 2])];
                self.node("MaxPool", self.inputs(layer), &layer.name, attributes);
            }
            Operation::SpaceToDepth { block } => self.space_to_depth(index, *block),
            Operation::Concat => self.node("Concat", self.inputs(layer), &layer.name, vec![int("axis", 1)]),
        }
    }

    /// The graph, with its input and outputs declared.
    pub(super) fn finish(self, outputs: Outputs<'_>) -> GraphProto {
        let layers = self.network.layers().iter().zip(self.network.shapes());
        let last = layers.len() - 1;
        let is_output = |index: usize, layer: &Layer| match outputs {
            Outputs::Last => index == last,
            Outputs::EveryLayer => true,
            Outputs::LastAnd(names) => index == last || names.contains(&layer.name),
        };
        let given = layers.enumerate().filter(|(index, (layer, _))| is_output(*index, layer));
        GraphProto {
            node: self.nodes,
            name: self.network.name().into(),
            initializer: self.constants,
            input: vec![value_info(INPUT, self.network.input_shape())],
            output: given.map(|(_, (layer, shape))| value_info(&layer.name, *shape)).collect(),
        }
    }

    fn convolution(&mut self, index: usize, weights: &LayerWeights, [stride, groups]: [usize; 2], activation: Activation) {
        let layer = &self.network.layers()[index];
        let (shape, weights, bias) = match (WeightShape::of(self.network, index), weights) {
            (WeightShape::Binary { shape, .. }, LayerWeights::Binary(binary)) => (shape, unpack(binary), &binary.bias),
            (WeightShape::Full { shape }, LayerWeights::Full(full)) => (shape, floats(&full.weights), &full.bias),
            _ => unreachable!("the model is checked: a convolution has the weights that its network asks for"),
        };
        let [filters, _, kernel, _] = shape;
        let weight = self.constant(&layer.name, "weight", DataType::Float, &shape, weights);
        let bias = self.constant(&layer.name, "bias", DataType::Float, &[filters], floats(bias));
        let inputs = [self.inputs(layer), vec![weight, bias]].concat();
        let attributes = vec![
            ints("kernel_shape", &[kernel, kernel]),
            ints("strides", &[stride, stride]),
            ints("pads", &[kernel / 2; 4]),
            int("group", groups),
        ];
        let before = format!("{}.convolution", layer.name);
        match activation {
            Activation::Linear => self.node("Conv", inputs, &layer.name, attributes),
            Activation::Relu => {
                self.node("Conv", inputs, &before, attributes);
                self.node("Relu", vec![before], &layer.name, vec![]);
            }
            Activation::Leaky => {
                self.node("Conv", inputs, &before, attributes);
                self.node("LeakyRelu", vec![before], &layer.name, vec![float("alpha", activation.negative_slope())]);
            }
        }
    }

    /// As three nodes that only move values; not every runtime that quantises a graph has `SpaceToDepth` in 8 bits:
    /// `[1, C, h·b, w·b]` → `[1, C, h, b, w, b]` → `[1, b, b, C, h, w]` → `[1, b·b·C, h, w]`.
    fn space_to_depth(&mut self, index: usize, block: usize) {
        let layer = &self.network.layers()[index];
        let Shape { channels, height, width } = self.network.shapes()[index];
        let [split, moved] = ["split", "moved"].map(|what| format!("{}.{what}", layer.name));
        let blocks = [1, channels / (block * block), height, block, width, block];
        let blocks = self.dimensions(&layer.name, "split_shape", &blocks);
        self.node("Reshape", [self.inputs(layer), vec![blocks]].concat(), &split, vec![]);
        self.node("Transpose", vec![split], &moved, vec![ints("perm", &[0, 3, 5, 1, 2, 4])]);
        let joined = self.dimensions(&layer.name, "shape", &[1, channels, height, width]);
        self.node("Reshape", vec![moved, joined], &layer.name, vec![]);
    }

    fn inputs(&self, layer: &Layer) -> Vec<String> {
        let name = |source: &Source| match *source {
            Source::Image => INPUT.into(),
            Source::Layer(index) => self.network.layers()[index].name.clone(),
        };
        layer.inputs.iter().map(name).collect()
    }

    /// Appends a node with one output, after which it is called.
    fn node(&mut self, operator: &str, inputs: Vec<String>, output: &str, attributes: Vec<AttributeProto>) {
        self.nodes.push(NodeProto {
            input: inputs,
            output: vec![output.into()],
            name: output.into(),
            op_type: operator.into(),
            attribute: attributes,
        });
    }

    /// Adds a constant of a layer; gives its name.
    fn constant(&mut self, layer: &str, what: &str, data_type: DataType, shape: &[usize], raw_data: Vec<u8>) -> String {
        let name = format!("{layer}.{what}");
        let tensor = TensorProto { dims: signed(shape), data_type: data_type.into(), name: name.clone(), raw_data };
        self.constants.push(tensor);
        name
    }

    /// Adds a shape as a constant; gives its name.
    fn dimensions(&mut self, layer: &str, what: &str, dimensions: &[usize]) -> String {
        let raw_data = signed(dimensions).iter().flat_map(|side| side.to_le_bytes()).collect();
        self.constant(layer, what, DataType::Int64, &[dimensions.len()], raw_data)
    }
}

/// `[filters, inputs]` constants `±scale`, as bytes.
fn unpack(binary: &BinaryWeights) -> Vec<u8> {
    let filter = |(filter, scale): (usize, &f32)| {
        let scale = *scale;
        (0..binary.inputs).flat_map(move |input| {
            let weight = if binary.is_positive(filter, input) { scale } else { -scale };
            weight.to_le_bytes()
        })
    };
    binary.scale.iter().enumerate().flat_map(filter).collect()
}

fn floats(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// ONNX counts in `i64`; a network's numbers are far below its limit.
fn signed(values: &[usize]) -> Vec<i64> {
    values.iter().map(|&value| value as i64).collect()
}

/// Declares a `[1, channels, height, width]` input or output.
fn value_info(name: &str, shape: Shape) -> ValueInfoProto {
    let sides = [1, shape.channels, shape.height, shape.width];
    let dim = signed(&sides).into_iter().map(|side| Dimension { dim_value: Some(side) }).collect();
    let tensor = TensorType { elem_type: DataType::Float.into(), shape: Some(TensorShape { dim }) };
    ValueInfoProto { name: name.into(), r#type: Some(TypeProto { tensor_type: Some(tensor) }) }
}

fn int(name: &str, value: usize) -> AttributeProto {
    AttributeProto { i: value as i64, ..attribute(name, AttributeType::Int) }
}

fn ints(name: &str, values: &[usize]) -> AttributeProto {
    AttributeProto { ints: signed(values), ..attribute(name, AttributeType::Ints) }
}

fn float(name: &str, value: f32) -> AttributeProto {
    AttributeProto { f: value, ..attribute(name, AttributeType::Float) }
}

fn attribute(name: &str, kind: AttributeType) -> AttributeProto {
    AttributeProto { name: name.into(), r#type: kind.into(), ..AttributeProto::default() }
}
