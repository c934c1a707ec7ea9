//! Which kernel runs a network: the one asked for, or the quickest on the network's own layers.

use super::{Convolution, Family, Kernel, Work, all, names};
use crate::{
    engine::{
        EngineError, Mode,
        arena::Arena,
        arithmetic::{Epilogue, Weights},
        layout::{Buffer, Element},
        memory::Memory,
    },
    model_file::BinaryWeights,
    network::{Network, Operation, Precision, Shape},
};
use std::{
    cmp::Reverse,
    time::{Duration, Instant},
};

/// Kinds of layer that are timed, those with the most multiply-adds.
const TRIALS: usize = 2;
/// Channels and filters of a trial, at most: what a kernel does once for all filters must not weigh more than it will.
const CHANNELS: usize = 128;
const FILTERS: usize = 512;
/// Positions of a trial, about: some rows, since tables above and below them are built for nothing.
const POSITIONS: usize = 80;
/// Runs of a trial, at most; the quickest counts.
const RUNS: usize = 6;
/// Runs of a trial, at least. The first is cold, and a moment that disturbs the next one must not decide.
const FEWEST_RUNS: usize = 3;
/// A kernel that has taken so much longer than the quickest by then, in percent, is not timed again.
const HOPELESS: u32 = 115;

/// The kernel of this name, or the quickest that runs here.
pub(in crate::engine) fn choose(
    name: Option<&str>,
    mode: Mode,
    network: &Network,
) -> Result<&'static dyn Kernel, EngineError> {
    let usable: Vec<_> = all().filter(|kernel| kernel.runs(mode)).collect();
    let chosen = match name {
        Some(name) => usable.into_iter().find(|kernel| kernel.name() == name),
        None => quickest(&usable, mode, network),
    };
    let kernel =
        chosen.ok_or_else(|| EngineError::Kernel { name: name.unwrap_or_default().into(), mode, available: names(mode) })?;
    log::info!("kernel {} for {mode} mode", kernel.name());
    Ok(kernel)
}

/// The quickest of some kernels, the last of which is the portable one: wherever another runs, that one is slower.
fn quickest(usable: &[&'static dyn Kernel], mode: Mode, network: &Network) -> Option<&'static dyn Kernel> {
    let (&last, others) = usable.split_last()?;
    let others = worth_timing(others);
    if others.len() < 2 {
        return Some(others.first().copied().unwrap_or(last));
    }
    let trials = trials(network);
    let arena = Arena::default();
    let contender = |&kernel| Contender::new(kernel, mode, &trials, &arena);
    let mut contenders: Vec<_> = others.iter().map(contender).collect();
    // One for all: pages are made when they are touched first, which takes as long as a trial.
    let Ok(memory) = Memory::new(contenders.iter().map(|contender| contender.bytes).max().unwrap_or_default()) else {
        return Some(last);
    };
    // By turns, so that what disturbs the machine for a moment disturbs all of them.
    let mut passed_over = Vec::new();
    for run in 1..=RUNS {
        contenders.iter_mut().for_each(|contender| contender.run(&memory));
        let best = contenders.iter().map(Contender::time).min().unwrap_or_default();
        if run >= FEWEST_RUNS {
            passed_over.extend(contenders.extract_if(.., |contender| contender.time() > best * HOPELESS / 100));
        }
        if contenders.len() < 2 {
            break;
        }
    }
    for contender in contenders.iter().chain(&passed_over) {
        log::debug!("kernel {}: {:?} for the trial layers", contender.kernel.name(), contender.time());
    }
    Some(contenders.iter().min_by_key(|contender| contender.time()).map_or(last, |best| best.kernel))
}

/// Those that may be the quickest. They stand in the order in which they are preferred.
fn worth_timing(kernels: &[&'static dyn Kernel]) -> Vec<&'static dyn Kernel> {
    let mut worth: Vec<&'static dyn Kernel> = Vec::new();
    for &kernel in kernels {
        let loses = worth.iter().any(|other| match other.family() {
            Family::Tiles => true,
            Family::Other => false,
            family => kernel.family() == family,
        });
        if !loses {
            worth.push(kernel);
        }
    }
    worth
}

/// A kernel, ready to run the trials.
struct Contender {
    kernel: &'static dyn Kernel,
    trials: Vec<Ready>,
    /// Memory that the trials need, one after the other.
    bytes: usize,
}

/// A trial, ready to run.
struct Ready {
    works: Vec<Box<dyn Work>>,
    /// The least time so far.
    best: Duration,
}

impl Contender {
    fn new(kernel: &'static dyn Kernel, mode: Mode, trials: &[Trial], arena: &Arena) -> Self {
        let (trials, bytes): (_, Vec<_>) = trials.iter().map(|trial| trial.ready(kernel, mode, arena)).unzip();
        Self { kernel, trials, bytes: bytes.into_iter().max().unwrap_or_default() }
    }

    /// Each trial once.
    fn run(&mut self, memory: &Memory) {
        for Ready { works, best } in &mut self.trials {
            let start = Instant::now();
            works.iter().for_each(|work| (0..work.items()).for_each(|item| work.run(item, memory)));
            *best = start.elapsed().min(*best);
        }
    }

    /// The least times of the trials, together.
    fn time(&self) -> Duration {
        self.trials.iter().map(|trial| trial.best).sum()
    }
}

/// A small piece of a layer.
#[derive(Clone, Copy, PartialEq)]
struct Trial {
    input: Shape,
    filters: usize,
    kernel: usize,
    stride: usize,
}

/// The heaviest binary layers, each kind once.
fn trials(network: &Network) -> Vec<Trial> {
    let mut layers: Vec<_> = (0..network.layers().len()).collect();
    layers.sort_by_key(|&layer| Reverse(network.layer_counts(layer).operations));
    let mut trials = Vec::new();
    for layer in layers.into_iter().map(|index| &network.layers()[index]) {
        if let Operation::Convolution(c) = &layer.operation
            && c.precision == Precision::Binary
        {
            let source = network.source_shape(layer.inputs[0]);
            let height = (POSITIONS / source.width).clamp(1, source.height);
            let input = Shape { channels: source.channels.min(CHANNELS), height, ..source };
            let trial = Trial { input, filters: c.filters.min(FILTERS), kernel: c.kernel, stride: c.stride };
            if !trials.contains(&trial) {
                trials.push(trial);
            }
        }
        if trials.len() == TRIALS {
            break;
        }
    }
    trials
}

impl Trial {
    /// The trial as a kernel runs it, and the bytes of memory that it needs.
    fn ready(&self, kernel: &dyn Kernel, mode: Mode, arena: &Arena) -> (Ready, usize) {
        let Shape { channels, height, width } = self.input;
        let sides = |side: usize| side.div_ceil(self.stride);
        let element = match mode {
            Mode::F32 => Element::Float,
            Mode::Int8 => Element::Byte { zero_point: 0 },
        };
        let buffer = |shape, border| Buffer { shape, element, layout: kernel.layout(), border };
        let input = buffer(self.input, self.kernel / 2);
        let output = buffer(Shape { channels: self.filters, height: sides(height), width: sides(width) }, 0);
        let start = input.bytes().next_multiple_of(Memory::ALIGNMENT);
        let scratch = (start + output.bytes()).next_multiple_of(Memory::ALIGNMENT);
        let bytes = scratch + kernel.scratch(Precision::Binary, self.kernel, self.input);

        let inputs = channels * self.kernel * self.kernel;
        let (scale, bias) = (vec![1.0; self.filters], vec![0.0; self.filters]);
        let bits = vec![0; self.filters * BinaryWeights::row_bytes(inputs)].into();
        let weights = BinaryWeights { bits, inputs, scale: scale.clone(), bias: bias.clone() };
        let convolution = Convolution {
            kernel: self.kernel,
            stride: self.stride,
            pool: false,
            weights: Weights::Bits(&weights),
            epilogue: Epilogue { scale, bias, slope: 1.0 },
            input: input.map(0),
            output: output.map(start),
            scratch,
            threads: 1,
            arena,
        };
        let mut works = kernel.preparations(&convolution);
        works.push(kernel.convolution(convolution));
        (Ready { works, best: Duration::MAX }, bytes)
    }
}
