//! From a network to steps: what runs, in which order, on which memory.

use super::{
    EngineError, Mode, Options,
    arena::Arena,
    arithmetic::{self, IMAGE},
    calibrate,
    kernels::{Convolution, Kernel, Work, moves},
    layout::{Element, Map},
    memory::Memory,
    placement::{Buffers, Placement},
};
use crate::{
    model_file::{Model, Quantization},
    network::{Activation, Depthwise, Layer, Network, Operation, Source},
};
use std::{
    cmp::Reverse,
    sync::{
        OnceLock,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    thread,
};

/// All that is decided at load.
pub(super) struct Plan {
    pub(super) memory: Memory,
    pub(super) image: Map,
    /// Each layer's output.
    pub(super) layers: Vec<Map>,
    pub(super) steps: Vec<Step>,
}

/// One piece of work and the layer that it belongs to.
pub(super) struct Step {
    pub(super) layer: usize,
    work: Box<dyn Work>,
    /// A map whose border it fills: its output.
    border: Option<Map>,
}

impl Plan {
    /// Plans a model. Its layers are prepared on as many threads as usual, however many will run them.
    pub(super) fn new(model: &Model, options: &Options, kernel: &dyn Kernel) -> Result<Self, EngineError> {
        model.check()?; // one that was read from a file is right; one made in memory may not be
        let quantization = match options.mode {
            Mode::F32 => None,
            Mode::Int8 => Some(checked_quantization(model)?),
        };
        let arena = Arena::default();
        Builder { model, kernel, threads: options.threads, quantization, arena: &arena }.build(options.keep_layers)
    }
}

impl Step {
    /// `output` is what it writes, if that is a layer's map.
    fn new(layer: usize, work: Box<dyn Work>, output: Option<&Map>) -> Self {
        Self { layer, work, border: output.filter(|output| output.border > 0).cloned() }
    }

    /// Items of the work, and one more that fills the border of the output, if it has one.
    pub(super) fn items(&self) -> usize {
        self.work.items() + usize::from(self.border.is_some())
    }

    pub(super) fn run(&self, item: usize, memory: &Memory) {
        match &self.border {
            // SAFETY: only this item uses the border of the output; the work writes inside the map.
            Some(border) if item == self.work.items() => unsafe { memory.fill_border(border) },
            _ => self.work.run(item, memory),
        }
    }
}

struct Builder<'a> {
    model: &'a Model,
    kernel: &'a dyn Kernel,
    threads: usize,
    /// One for each layer, in int8 mode.
    quantization: Option<&'a [Quantization]>,
    arena: &'a Arena,
}

impl Builder<'_> {
    fn build(&self, keep: bool) -> Result<Plan, EngineError> {
        let network = &self.model.network;
        let elements: Vec<_> = (0..network.layers().len()).map(|layer| self.element(layer)).collect();
        let image = self.byte_or_float(Some(IMAGE));
        let pools: Vec<_> = match keep {
            true => vec![None; elements.len()],
            false => {
                pools(network).into_iter().enumerate().map(|(layer, pool)| pool.filter(|_| self.pools(layer))).collect()
            }
        };
        let scratch: Vec<_> = (0..elements.len()).map(|layer| self.scratch(layer)).collect();
        let buffers = Buffers { layout: self.kernel.layout(), image, elements: &elements, scratch: &scratch };
        let placement = Placement::new(network, buffers, &pools, keep);

        // Zeroed, which is what the border of the image holds in both modes.
        let memory = Memory::new(placement.bytes)?;
        let steps = self.steps(&placement, &pools)?;
        Ok(Plan { memory, image: placement.image, layers: placement.layers, steps })
    }

    /// The steps of all layers. A layer is prepared by one thread, those with the most weights first.
    fn steps(&self, placement: &Placement, pools: &[Option<usize>]) -> Result<Vec<Step>, EngineError> {
        let network = &self.model.network;
        let mut order: Vec<_> = (0..network.layers().len()).collect();
        order.sort_by_key(|&layer| Reverse(network.layer_counts(layer).packed_bytes));
        let prepared: Vec<_> = order.iter().map(|_| OnceLock::new()).collect();
        let next = AtomicUsize::new(0);
        let prepare = || {
            while let Some(&layer) = order.get(next.fetch_add(1, Relaxed)) {
                prepared[layer].get_or_init(|| self.layer(layer, placement, pools));
            }
        };
        thread::scope(|scope| {
            for _ in 1..Options::default().threads {
                // If the system has no thread to spare, the others do its part.
                let _ = thread::Builder::new().spawn_scoped(scope, prepare);
            }
            prepare();
        });
        let mut steps = Vec::new();
        for layer in prepared {
            steps.extend(layer.into_inner().expect("every layer was prepared")?);
        }
        Ok(steps)
    }

    /// Does the kernel pool what a layer gives, if only a pool reads it?
    fn pools(&self, layer: usize) -> bool {
        let mode = if self.quantization.is_some() { Mode::Int8 } else { Mode::F32 };
        let Layer { operation, inputs, .. } = &self.model.network.layers()[layer];
        let pools = |convolution| self.kernel.pools(convolution, inputs[0], mode);
        matches!(operation, Operation::Convolution(convolution) if pools(convolution))
    }

    /// Bytes that the kernel needs besides the maps of a layer.
    fn scratch(&self, layer: usize) -> usize {
        let network = &self.model.network;
        let Layer { operation, inputs, .. } = &network.layers()[layer];
        match operation {
            Operation::Convolution(c) => self.kernel.scratch(c.precision, c.kernel, network.source_shape(inputs[0])),
            _ => 0,
        }
    }

    /// How the output of a layer is kept; `None` for floats.
    fn output_quantization(&self, layer: usize) -> Option<Quantization> {
        let last = layer + 1 == self.model.network.layers().len();
        self.quantization.filter(|_| !last).map(|quantization| quantization[layer])
    }

    fn element(&self, layer: usize) -> Element {
        self.byte_or_float(self.output_quantization(layer))
    }

    fn byte_or_float(&self, quantization: Option<Quantization>) -> Element {
        match quantization {
            Some(q) if self.quantization.is_some() => Element::Byte { zero_point: q.zero_point },
            _ => Element::Float,
        }
    }

    fn layer(&self, index: usize, placement: &Placement, pools: &[Option<usize>]) -> Result<Vec<Step>, EngineError> {
        let network = &self.model.network;
        let layer = &network.layers()[index];
        let input = placement.source(layer.inputs[0]);
        let output = &placement.layers[index];
        let mut steps = Vec::new();
        let work = match &layer.operation {
            Operation::Convolution(c) => {
                let convolution = self.convolution(index, (c.kernel, c.stride, c.activation), input, output)?;
                let (pool, scratch) = (pools[index].is_some(), placement.scratch[index]);
                let convolution = Convolution { pool, scratch, ..convolution };
                let preparations = self.kernel.preparations(&convolution);
                steps.extend(preparations.into_iter().map(|work| Step::new(index, work, None)));
                self.kernel.convolution(convolution)
            }
            Operation::Depthwise(d) => {
                let convolution = self.convolution(index, (Depthwise::KERNEL, d.stride, d.activation), input, output)?;
                self.kernel.depthwise(convolution)
            }
            Operation::MaxPool if pools.contains(&Some(index)) => return Ok(steps),
            Operation::MaxPool => self.kernel.max_pool(input.clone(), output.clone()),
            Operation::SpaceToDepth { block } => moves::space_to_depth(input.clone(), output.clone(), *block),
            Operation::Concat => return Ok(self.copies(index, placement)),
        };
        steps.push(Step::new(index, work, Some(output)));
        Ok(steps)
    }

    fn convolution(
        &self,
        index: usize,
        (kernel, stride, activation): (usize, usize, Activation),
        input: &Map,
        output: &Map,
    ) -> Result<Convolution<'_>, EngineError> {
        let network = &self.model.network;
        let weights = &self.model.weights[index];
        let (weights, epilogue) = match self.quantization {
            None => arithmetic::float(weights, activation),
            Some(quantization) => {
                let read = match network.layers()[index].inputs[0] {
                    Source::Image => IMAGE,
                    Source::Layer(source) => quantization[source],
                };
                arithmetic::quantized(weights, activation, read, self.output_quantization(index))
                    .map_err(|reason| EngineError::layer(network, index, reason))?
            }
        };
        let (input, output) = (input.clone(), output.clone());
        let &Self { threads, arena, .. } = self;
        Ok(Convolution { kernel, stride, pool: false, weights, epilogue, input, output, scratch: 0, threads, arena })
    }

    /// What a concatenation has to copy: the inputs that do not stand in its map.
    fn copies(&self, concat: usize, placement: &Placement) -> Vec<Step> {
        let network = &self.model.network;
        let mut first = 0;
        let mut copies = Vec::new();
        for &source in &network.layers()[concat].inputs {
            let channels = network.source_shape(source).channels;
            if !placement.is_joined(source, concat, first) {
                let output = placement.layers[concat].channels(first, channels);
                let work = moves::copy(placement.source(source).clone(), output.clone());
                copies.push(Step::new(concat, work, Some(&output)));
            }
            first += channels;
        }
        copies
    }
}

/// For each dense convolution that only a pool reads, that pool.
pub(super) fn pools(network: &Network) -> Vec<Option<usize>> {
    let layers = network.layers();
    let pool = |index: usize| {
        let mut readers = (0..layers.len()).filter(|&reader| layers[reader].inputs.contains(&Source::Layer(index)));
        let (reader, None) = (readers.next()?, readers.next()) else { return None };
        let fits =
            matches!(layers[index].operation, Operation::Convolution(_)) && layers[reader].operation == Operation::MaxPool;
        fits.then_some(reader)
    };
    (0..layers.len()).map(pool).collect()
}

/// The model's activation ranges, if int8 mode can use them.
fn checked_quantization(model: &Model) -> Result<&[Quantization], EngineError> {
    let network = &model.network;
    let quantization = model.quantization.as_deref().ok_or(EngineError::NotCalibrated)?;
    let layers = network.layers().len();
    let fail = |index, reason: String| Err(EngineError::layer(network, index, reason));
    if !matches!(network.layers()[layers - 1].operation, Operation::Convolution(_) | Operation::Depthwise(_)) {
        return fail(layers - 1, "the last layer must be a convolution in int8 mode, where it gives floats".into());
    }
    for (index, range) in calibrate::ranges(network).iter().enumerate() {
        let (wanted, whose) = match *range {
            Source::Image => (IMAGE, "the image"),
            Source::Layer(first) => (quantization[first], network.layers()[first].name.as_str()),
        };
        if quantization[index] != wanted {
            return fail(index, format!("must have the activation range of {whose}, whose values it only moves or joins"));
        }
    }
    Ok(quantization)
}
