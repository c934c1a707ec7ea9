//! A full-precision network whose features the student learns from: any ONNX file, run by ONNX Runtime.
//!
//! ONNX Runtime gives out only what a graph declares as outputs. A *tap*, some tensor within the graph, is made an output
//! by appending a few bytes to the file (`graph`); its shape is read from what comes out, never assumed.
//!
//! With a cache on disk it runs only on what it has not seen before.

mod cache;
mod error;
mod graph;
mod inspect;
mod runtime;

pub use error::TeacherError;
pub use inspect::{Candidate, inspect};

use crate::{
    data::Batch,
    recipe::{ColourOrder, Layout, TeacherConfig, TeacherInput},
};
use cache::Cache;
use graph::OnnxFile;
use onebit_detector::network::{InputSize, Shape};
use ort::{
    session::{Session, SessionOutputs},
    value::{TensorElementType, TensorRef, ValueType},
};
use std::path::PathBuf;

/// What a tap gives for a batch.
#[derive(Clone, Debug, PartialEq)]
pub struct FeatureMap {
    /// `[pictures, channels, height, width]`.
    pub shape: [usize; 4],
    /// The values, in the order of the shape.
    pub values: Vec<f32>,
}

impl FeatureMap {
    /// The map in `parts` equal parts of the batch.
    pub fn split(mut self, parts: usize) -> Vec<Self> {
        let [pictures, channels, height, width] = self.shape;
        let (shape, length) = ([pictures / parts, channels, height, width], self.values.len() / parts);
        (0..parts).map(|_| Self { shape, values: self.values.drain(..length).collect() }).collect()
    }
}

/// A network in ONNX Runtime, with its taps.
pub struct Teacher {
    path: PathBuf,
    sha256: String,
    session: Session,
    input: Input,
    config: TeacherInput,
    taps: Vec<String>,
    cache: Option<Cache>,
    cached: usize,
}

/// The input as the graph declares it.
struct Input {
    name: String,
    /// Pictures in a batch; `None` for any number.
    batch: Option<usize>,
    height: Option<usize>,
    width: Option<usize>,
}

impl Teacher {
    /// Loads a teacher and makes outputs of the tensors `taps`, each of which stands there once.
    ///
    /// # Errors
    /// If ONNX Runtime is missing, the file is no network with one picture as its input, a tap is not in its graph, or the
    /// cache's folder cannot be used.
    pub fn load(config: &TeacherConfig, taps: Vec<String>) -> Result<Self, TeacherError> {
        let file = OnnxFile::read(&config.file)?;
        let bytes = file.with_outputs(taps.iter().map(String::as_str))?;
        let session = runtime::session(file.path(), &bytes, config.provider, config.threads)?;
        let input = Input::of(&session, config.input.layout)
            .map_err(|reason| TeacherError::File { path: config.file.clone(), reason })?;
        let (path, sha256) = (config.file.clone(), file.sha256());
        let network = format!("{sha256}, {:?}, {} threads, {}", config.provider, config.threads, ort::info());
        let cache = config.cache.as_ref().map(|cache| Cache::open(cache, &network, &taps)).transpose()?;
        Ok(Self { path, sha256, session, input, config: config.input.clone(), taps, cache, cached: 0 })
    }

    /// SHA-256 of its file, in hexadecimal.
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    /// Pictures so far whose features came from the cache.
    pub fn cached(&self) -> usize {
        self.cached
    }

    /// Shapes of the taps for pictures of this size, by running the network on a grey one.
    ///
    /// # Errors
    /// As [`Teacher::features`].
    pub fn shapes(&mut self, size: InputSize) -> Result<Vec<Shape>, TeacherError> {
        let values = vec![0.5; size.shape().values()];
        let grey = Batch { size, values, labels: vec![Vec::new()], unlabelled: vec![Vec::new()] };
        let shape = |map: FeatureMap| {
            let [_, channels, height, width] = map.shape;
            Shape { channels, height, width }
        };
        Ok(self.features(&grey)?.into_iter().map(shape).collect())
    }

    /// What the taps give for the pictures of a batch, in their order.
    ///
    /// # Errors
    /// If the network reads pictures of another size, cannot be run, or a tap is no `f32` feature map
    /// `[pictures, channels, height, width]`.
    pub fn features(&mut self, batch: &Batch) -> Result<Vec<FeatureMap>, TeacherError> {
        self.check_size(batch.size)?;
        let pictures = batch.labels.len();
        // A graph for a fixed number of pictures is run on each by itself, which is right for one; others are refused by
        // ONNX Runtime with both numbers.
        let at_once = if self.input.batch.is_none_or(|fixed| fixed == pictures) { pictures } else { 1 };
        let mut maps: Vec<Option<FeatureMap>> = vec![None; self.taps.len()];
        for values in batch.values.chunks_exact(at_once * batch.size.shape().values()) {
            let input = prepared(values, batch.size, &self.config);
            let shape = input_shape(at_once, batch.size, self.config.layout);
            maps.iter_mut().zip(self.cached_or_run(shape, &input)?).for_each(|(map, part)| append(map, part));
        }
        Ok(maps.into_iter().map(|map| map.expect("a batch has pictures")).collect())
    }

    /// What the taps give for an input of this shape: from the cache if it is there, else by running the network.
    fn cached_or_run(&mut self, shape: [usize; 4], input: &[f32]) -> Result<Vec<FeatureMap>, TeacherError> {
        let Some(cache) = &self.cache else { return self.run(shape, input) };
        let key = cache.key(shape, input);
        if let Some(maps) = cache.read(&key) {
            self.cached += shape[0];
            return Ok(maps);
        }
        let maps = self.run(shape, input)?;
        self.cache.iter_mut().for_each(|cache| cache.write(&key, &maps));
        Ok(maps)
    }

    fn run(&mut self, shape: [usize; 4], input: &[f32]) -> Result<Vec<FeatureMap>, TeacherError> {
        let path = &self.path;
        let outputs = run(&mut self.session, &self.input.name, shape, input)
            .map_err(|e| TeacherError::Run { path: path.clone(), reason: e.to_string() })?;
        let map = |name: &String| {
            feature_map(&outputs, name, shape[0]).map_err(|reason| TeacherError::Tensor {
                path: path.clone(),
                name: name.clone(),
                reason,
            })
        };
        self.taps.iter().map(map).collect()
    }

    fn check_size(&self, found: InputSize) -> Result<(), TeacherError> {
        let Input { height, width, .. } = self.input;
        let fits = |side: Option<usize>, found| side.is_none_or(|side| side == found);
        if fits(width, found.width) && fits(height, found.height) {
            return Ok(());
        }
        let side = |side: Option<usize>| side.map_or("?".to_owned(), |side| side.to_string());
        Err(TeacherError::Size { path: self.path.clone(), wanted: format!("{}x{}", side(width), side(height)), found })
    }
}

impl Input {
    /// The only input of a network; or why it cannot be used.
    fn of(session: &Session, layout: Layout) -> Result<Self, String> {
        let [input] = session.inputs() else {
            return Err(format!("has {} inputs, a teacher has one", session.inputs().len()));
        };
        let name = input.name().to_owned();
        let ValueType::Tensor { ty: TensorElementType::Float32, shape, .. } = input.dtype() else {
            return Err(format!("the input '{name}' is no f32 tensor"));
        };
        let side = |axis: usize| usize::try_from(shape[axis]).ok().filter(|side| *side > 0);
        let (channels, height, width) = match layout {
            Layout::Nchw => (1, 2, 3),
            Layout::Nhwc => (3, 1, 2),
        };
        if shape.len() != 4 || side(channels).is_some_and(|channels| channels != 3) {
            let axes = if layout == Layout::Nchw { "[batch, 3, height, width]" } else { "[batch, height, width, 3]" };
            return Err(format!("the input '{name}' is {:?}, not {axes}", &shape[..]));
        }
        Ok(Self { name, batch: side(0), height: side(height), width: side(width) })
    }

    /// The only size of picture that it takes, if there is one.
    fn size(&self) -> Option<InputSize> {
        self.width.zip(self.height).map(|(width, height)| InputSize { width, height })
    }
}

/// Pictures `[pictures, 3, height, width]`, red, green, blue, 0 to 1, as the teacher wants them.
fn prepared(pictures: &[f32], size: InputSize, config: &TeacherInput) -> Vec<f32> {
    let plane = size.width * size.height;
    let source = |channel: usize| if config.order == ColourOrder::Bgr { 2 - channel } else { channel };
    let value = |picture: &[f32], channel: usize, at: usize| {
        (picture[source(channel) * plane + at] * config.range - config.mean[channel]) / config.std[channel]
    };
    let mut values = Vec::with_capacity(pictures.len());
    for picture in pictures.chunks_exact(3 * plane) {
        match config.layout {
            Layout::Nchw => (0..3).for_each(|c| values.extend((0..plane).map(|at| value(picture, c, at)))),
            Layout::Nhwc => (0..plane).for_each(|at| values.extend((0..3).map(|c| value(picture, c, at)))),
        }
    }
    values
}

/// Shape of the input tensor.
fn input_shape(pictures: usize, InputSize { width, height }: InputSize, layout: Layout) -> [usize; 4] {
    match layout {
        Layout::Nchw => [pictures, 3, height, width],
        Layout::Nhwc => [pictures, height, width, 3],
    }
}

fn run<'s>(session: &'s mut Session, name: &str, shape: [usize; 4], values: &[f32]) -> ort::Result<SessionOutputs<'s>> {
    session.run(ort::inputs![name => TensorRef::from_array_view((shape, values))?])
}

/// A tensor among the outputs, as the feature map of so many pictures; or why it is none.
fn feature_map(outputs: &SessionOutputs<'_>, name: &str, pictures: usize) -> Result<FeatureMap, String> {
    let (shape, values) = outputs[name].try_extract_tensor::<f32>().map_err(|e| e.to_string())?;
    let sides: Vec<usize> = shape.iter().filter_map(|&side| usize::try_from(side).ok()).collect();
    match <[usize; 4]>::try_from(sides) {
        Ok(shape) if shape[0] == pictures && !values.is_empty() => Ok(FeatureMap { shape, values: values.to_vec() }),
        _ => Err(format!("is {:?}, not a feature map [{pictures}, channels, height, width]", &shape[..])),
    }
}

fn append(map: &mut Option<FeatureMap>, part: FeatureMap) {
    match map {
        Some(map) => {
            map.shape[0] += part.shape[0];
            map.values.extend(part.values);
        }
        None => *map = Some(part),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_are_prepared_as_the_recipe_says() {
        // One picture of 2x1 pixels: red 0 and 1, green 0.2 and 0.4, blue 0.6 and 0.8.
        let picture = [0.0, 1.0, 0.2, 0.4, 0.6, 0.8];
        let size = InputSize { width: 2, height: 1 };
        let near = |config: TeacherInput, expected: [f32; 6]| {
            let found = prepared(&picture, size, &config);
            assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-5), "{found:?}, by hand {expected:?}");
        };
        near(TeacherInput::default(), picture);
        let bgr = TeacherInput { order: ColourOrder::Bgr, range: 255.0, ..TeacherInput::default() };
        near(bgr.clone(), [153.0, 204.0, 51.0, 102.0, 0.0, 255.0]);
        let normalised = TeacherInput { mean: [153.0, 51.0, 0.0], std: [51.0, 1.0, 255.0], ..bgr };
        near(normalised.clone(), [0.0, 1.0, 0.0, 51.0, 0.0, 1.0]);
        near(TeacherInput { layout: Layout::Nhwc, ..normalised }, [0.0, 0.0, 0.0, 1.0, 51.0, 1.0]);
    }
}
