//! A model that is ready to run.

use super::{
    EngineError, MAX_THREADS, Mode, Options, kernels,
    layout::{Element, Layout, Map},
    memory::{Memory, Value},
    plan::Plan,
    threads::Pool,
};
use crate::{
    model_file::{Model, Quantization},
    network::{Layer, Network, Shape},
};
use ndarray::Array3;
use std::time::Instant;

/// A model planned for this CPU: weights packed, memory and threads ready. [`Session::run`] allocates nothing.
pub struct Session {
    network: Network,
    mode: Mode,
    kernel: &'static str,
    keep_layers: bool,
    quantization: Option<Vec<Quantization>>,
    plan: Plan,
    pool: Pool,
    profile: Vec<LayerProfile>,
}

/// What one layer cost in the last run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerProfile {
    /// The layer's name.
    pub name: String,
    /// The kernel that computes it.
    pub kernel: &'static str,
    /// Wall time, 0 before the first run.
    pub nanoseconds: u64,
    /// Multiply-adds of the layer.
    pub macs: u64,
}

impl Session {
    /// Plans a model.
    ///
    /// # Errors
    /// Names what the model or the options lack: activation ranges in int8 mode, a kernel that this CPU has, weights that
    /// fit the network, numbers that int8 arithmetic can hold, memory, threads.
    pub fn new(model: &Model, options: &Options) -> Result<Self, EngineError> {
        if !(1..=MAX_THREADS).contains(&options.threads) {
            return Err(EngineError::Threads(options.threads));
        }
        let kernel = kernels::choose(options.kernel.as_deref(), options.mode, &model.network)?;
        let plan = Plan::new(model, options, kernel)?;
        let pool = Pool::new(options.threads)?;
        let network = model.network.clone();
        let profile = |(index, layer): (usize, &Layer)| LayerProfile {
            name: layer.name.clone(),
            kernel: kernel.name(),
            nanoseconds: 0,
            macs: network.layer_counts(index).operations / 2,
        };
        Ok(Self {
            profile: network.layers().iter().enumerate().map(profile).collect(),
            mode: options.mode,
            kernel: kernel.name(),
            keep_layers: options.keep_layers,
            quantization: model.quantization.clone(),
            network,
            plan,
            pool,
        })
    }

    /// What runs.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// Kind of activations.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Name of the kernel.
    pub fn kernel(&self) -> &'static str {
        self.kernel
    }

    /// Number of threads, the caller's of [`Session::run`] among them.
    pub fn threads(&self) -> usize {
        self.pool.threads()
    }

    /// The input image, to be written. It keeps what was written until it is written again.
    pub fn input_mut(&mut self) -> Input<'_> {
        Input { memory: &mut self.plan.memory, map: &self.plan.image }
    }

    /// Runs the network on the input image. Some kernels take a little more than a megabyte of the caller's stack.
    pub fn run(&mut self) {
        for layer in &mut self.profile {
            layer.nanoseconds = 0;
        }
        let memory = &self.plan.memory;
        for step in &self.plan.steps {
            let start = Instant::now();
            self.pool.run(step.items(), &|item| step.run(item, memory));
            self.profile[step.layer].nanoseconds += start.elapsed().as_nanos() as u64;
        }
    }

    /// The last layer's values after a run; zeros before the first.
    pub fn output(&self) -> Output<'_> {
        Output { memory: &self.plan.memory, map: &self.plan.layers[self.plan.layers.len() - 1] }
    }

    /// One layer's values after a run, `[channels, height, width]`; in int8 mode what its bytes stand for.
    ///
    /// # Panics
    /// If the session was made without [`Options::keep_layers`], or there is no such layer.
    pub fn layer(&self, index: usize) -> Array3<f32> {
        assert!(self.keep_layers, "layers are kept only with Options::keep_layers");
        let memory = &self.plan.memory;
        let map = &self.plan.layers[index];
        let shape = (map.shape.channels, map.shape.height, map.shape.width);
        match (map.element, &self.quantization) {
            (Element::Byte { zero_point }, Some(quantization)) => {
                let real = |byte: u8| quantization[index].scale * (f32::from(byte) - f32::from(zero_point));
                Array3::from_shape_fn(shape, |position| real(value(memory, map, position)))
            }
            _ => Array3::from_shape_fn(shape, |position| value(memory, map, position)),
        }
    }

    /// What each layer cost in the last run, in the order of the network's layers.
    pub fn profile(&self) -> &[LayerProfile] {
        &self.profile
    }
}

/// The network's input image, to be written row by row.
pub struct Input<'a> {
    memory: &'a mut Memory,
    map: &'a Map,
}

impl Input<'_> {
    /// Columns.
    pub fn width(&self) -> usize {
        self.map.shape.width
    }

    /// Rows.
    pub fn height(&self) -> usize {
        self.map.shape.height
    }

    /// Writes one row of red, green, blue bytes. They are kept as they are in int8 mode, divided by 255 in f32 mode.
    ///
    /// # Panics
    /// If there is no such row, or `rgb` is not three bytes for each column.
    pub fn write_row(&mut self, y: usize, rgb: &[u8]) {
        assert!(y < self.height(), "row {y} of an input of {} rows", self.height());
        assert_eq!(rgb.len(), 3 * self.width(), "bytes in a row of an input {} pixels wide", self.width());
        match self.map.element {
            Element::Byte { .. } => self.write(y, rgb, |byte| byte),
            Element::Float => self.write(y, rgb, |byte| f32::from(byte) / 255.0),
        }
    }

    fn write<T: Value>(&mut self, y: usize, rgb: &[u8], value: impl Fn(u8) -> T) {
        match self.map.layout {
            Layout::Interleaved => self.fill(0, y, rgb.iter(), value),
            Layout::Planar => (0..3).for_each(|channel| self.fill(channel, y, rgb[channel..].iter().step_by(3), &value)),
        }
    }

    fn fill<'a, T: Value>(
        &mut self,
        channel: usize,
        y: usize,
        bytes: impl ExactSizeIterator<Item = &'a u8>,
        value: impl Fn(u8) -> T,
    ) {
        let values = self.memory.run_mut(self.map, self.map.at(channel, y as isize, 0), bytes.len());
        values.iter_mut().zip(bytes).for_each(|(to, &byte)| *to = value(byte));
    }
}

/// Values of the last layer.
#[derive(Clone, Copy)]
pub struct Output<'a> {
    memory: &'a Memory,
    map: &'a Map,
}

impl Output<'_> {
    /// Their shape.
    pub fn shape(&self) -> Shape {
        self.map.shape
    }

    /// One value.
    ///
    /// # Panics
    /// If it lies outside the shape.
    #[inline]
    pub fn get(&self, channel: usize, y: usize, x: usize) -> f32 {
        let Shape { channels, height, width } = self.map.shape;
        assert!(channel < channels && y < height && x < width, "({channel}, {y}, {x}) in an output of {}", self.map.shape);
        value(self.memory, self.map, (channel, y, x))
    }

    /// All values, `[channels, height, width]`.
    pub fn to_array(&self) -> Array3<f32> {
        let Shape { channels, height, width } = self.map.shape;
        Array3::from_shape_fn((channels, height, width), |position| value(self.memory, self.map, position))
    }
}

fn value<T: Value>(memory: &Memory, map: &Map, (channel, y, x): (usize, usize, usize)) -> T {
    memory.read(map).run(map.at(channel, y as isize, x as isize), 1)[0]
}
