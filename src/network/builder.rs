//! Layer after layer: what the three networks are written with.

use super::{
    Activation, Convolution, Depthwise, Description, Layer, Network, NetworkError, NetworkSpec, Operation, Precision, Source,
};

/// Appends layers, each reading the one before unless it is told otherwise.
pub(super) struct Builder<'a> {
    spec: &'a NetworkSpec,
    activation: Activation,
    layers: Vec<Layer>,
}

impl<'a> Builder<'a> {
    pub(super) fn new(spec: &'a NetworkSpec, activation: Activation) -> Self {
        Self { spec, activation, layers: Vec::new() }
    }

    /// The activation of the layers that follow.
    pub(super) fn activation(&mut self, activation: Activation) {
        self.activation = activation;
    }

    /// The layer appended last.
    pub(super) fn last(&self) -> Source {
        self.layers.len().checked_sub(1).map_or(Source::Image, Source::Layer)
    }

    fn push(&mut self, name: impl Into<String>, inputs: Vec<Source>, operation: Operation) -> Source {
        self.layers.push(Layer { name: name.into(), inputs, operation });
        self.last()
    }

    /// A convolution with batch norm: binary, unless it is the network's first.
    pub(super) fn conv(
        &mut self,
        name: impl Into<String>,
        source: Source,
        filters: usize,
        kernel: usize,
        stride: usize,
    ) -> Source {
        let precision = if source == Source::Image { Precision::Full } else { Precision::Binary };
        let filters = self.spec.scaled(filters);
        let activation = self.activation;
        let convolution = Convolution { filters, kernel, stride, precision, batch_norm: true, activation };
        self.push(name, vec![source], Operation::Convolution(convolution))
    }

    pub(super) fn depthwise(&mut self, name: impl Into<String>, stride: usize) -> Source {
        let depthwise = Depthwise { stride, activation: self.activation };
        self.push(name, vec![self.last()], Operation::Depthwise(depthwise))
    }

    pub(super) fn max_pool(&mut self, name: impl Into<String>) -> Source {
        self.push(name, vec![self.last()], Operation::MaxPool)
    }

    pub(super) fn reorg(&mut self, name: impl Into<String>, source: Source) -> Source {
        self.push(name, vec![source], Operation::SpaceToDepth { block: 2 })
    }

    pub(super) fn concat(&mut self, name: impl Into<String>, sources: Vec<Source>) -> Source {
        self.push(name, sources, Operation::Concat)
    }

    /// The last convolution (full precision, bias, linear) and the network around all.
    pub(super) fn finish(mut self) -> Result<Network, NetworkError> {
        let head = self.spec.head();
        let prediction = Convolution {
            filters: head.outputs(self.spec.classes.len()),
            kernel: 1,
            stride: 1,
            precision: Precision::Full,
            batch_norm: false,
            activation: Activation::Linear,
        };
        self.push("prediction", vec![self.last()], Operation::Convolution(prediction));
        Network::new(Description {
            name: self.spec.name(),
            input: self.spec.input,
            classes: self.spec.classes.clone(),
            layers: self.layers,
            head,
        })
    }
}
