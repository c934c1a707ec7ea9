//! The node's parameters: names, descriptions, ranges, and what may change while the node runs.

use crate::{
    detection::{DetectorOptions, nms::MAX_CANDIDATES},
    engine::{self, MAX_THREADS, Mode},
};
use r2r::{Parameter, ParameterValue, QosProfile, RosParams, indexmap::IndexMap};
use std::ops::RangeInclusive;
use thiserror::Error;

/// The parameters, read and checked.
#[derive(Clone, Debug)]
pub(super) struct Parameters {
    /// The model file; empty for the one that is installed with the node.
    pub(super) model_path: String,
    mode: Mode,
    kernel: String,
    threads: usize,
    score_threshold: f64,
    class_thresholds: Vec<f64>,
    nms_iou: f64,
    max_detections: usize,
    /// How images come.
    pub(super) image_transport: ImageTransport,
    reliability: Reliability,
    depth: usize,
    durability: Durability,
    /// Number of classes of the model, once the node runs.
    classes: Option<usize>,
}

/// How images come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ImageTransport {
    /// As `sensor_msgs/Image`.
    Raw,
    /// As `sensor_msgs/CompressedImage`.
    Compressed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reliability {
    BestEffort,
    Reliable,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Durability {
    Volatile,
    TransientLocal,
}

/// A parameter as it is declared.
struct Declaration {
    name: &'static str,
    /// What it means and which values are possible: r2r passes no ranges on.
    description: &'static str,
    /// Whether it can be set while the node runs.
    live: bool,
}

const fn at_start(name: &'static str, description: &'static str) -> Declaration {
    Declaration { name, description, live: false }
}

const fn live(name: &'static str, description: &'static str) -> Declaration {
    Declaration { name, description, live: true }
}

const DECLARED: [Declaration; 12] = [
    at_start("model.path", "Model file; empty: the one installed with the node. Read at the start"),
    at_start("model.mode", "Activations: int8 (fast) or f32 (reference). Read at the start"),
    at_start("model.kernel", "Name of the kernel that runs the network; empty: the best for this CPU. Read at the start"),
    at_start("threads", "Threads that compute, 0 to 256; 0: one per core, at most 4. Read at the start"),
    live("score_threshold", "Lowest score of a reported box, 0.0 to 1.0"),
    live("class_thresholds", "Lowest score for each class of the model, 0.0 to 1.0; empty: score_threshold for all"),
    live("nms_iou", "Of two boxes of one class that overlap by more (IoU), the better is reported, 0.0 to 1.0"),
    live("max_detections", "Largest number of boxes reported for an image, 1 to 1000"),
    at_start("image_transport", "How images come: raw (topic image) or compressed (image/compressed). Read at the start"),
    at_start("qos.reliability", "Of the image subscription: best_effort or reliable. Read at the start"),
    at_start("qos.depth", "Images that the middleware keeps for the node, 1 to 1000. Read at the start"),
    at_start("qos.durability", "Of the image subscription: volatile or transient_local. Read at the start"),
];

/// Parameters that r2r itself reads.
const BUILT_IN: [&str; 1] = ["use_sim_time"];

const MODES: [(&str, Mode); 2] = [("int8", Mode::Int8), ("f32", Mode::F32)];
const TRANSPORTS: [(&str, ImageTransport); 2] = [("raw", ImageTransport::Raw), ("compressed", ImageTransport::Compressed)];
const RELIABILITIES: [(&str, Reliability); 2] =
    [("best_effort", Reliability::BestEffort), ("reliable", Reliability::Reliable)];
const DURABILITIES: [(&str, Durability); 2] =
    [("volatile", Durability::Volatile), ("transient_local", Durability::TransientLocal)];

/// A value that a parameter cannot take.
#[derive(Debug, Error, PartialEq)]
#[error("parameter {name} {problem}")]
pub(super) struct ParameterError {
    name: String,
    problem: Problem,
}

#[derive(Debug, Error, PartialEq)]
enum Problem {
    #[error("does not exist; the nearest name is {nearest}")]
    Unknown { nearest: &'static str },
    #[error("is read at the start only: start the node anew with it")]
    StartOnly,
    #[error("must be {wanted}; it is {found}")]
    Value { wanted: String, found: String },
}

impl From<ParameterError> for r2r::Error {
    fn from(error: ParameterError) -> Self {
        Self::ParameterValueConv { name: error.name, msg: error.problem.to_string() }
    }
}

impl Default for Parameters {
    fn default() -> Self {
        let options = DetectorOptions::default();
        Self {
            model_path: String::new(),
            mode: Mode::Int8,
            kernel: String::new(),
            threads: 0,
            // As decimals: what f32 makes of 0.45 would be shown with all its digits.
            score_threshold: decimal(options.score_threshold),
            class_thresholds: Vec::new(),
            nms_iou: decimal(options.nms_iou),
            max_detections: options.max_detections,
            image_transport: ImageTransport::Raw,
            reliability: Reliability::BestEffort,
            depth: 1,
            durability: Durability::Volatile,
            classes: None,
        }
    }
}

/// The number of six decimals nearest to `value`.
fn decimal(value: f32) -> f64 {
    (f64::from(value) * 1e6).round() / 1e6
}

impl Parameters {
    /// Takes what file and command line set out of `given`. Returns the names there that are no parameters of the node,
    /// each with the nearest one that is; they are taken out as well, since r2r would list them like the others.
    ///
    /// # Errors
    /// If a value is not possible.
    pub(super) fn load(
        &mut self,
        given: &mut IndexMap<String, Parameter>,
    ) -> Result<Vec<(String, &'static str)>, ParameterError> {
        let mut unknown = Vec::new();
        for (name, parameter) in std::mem::take(given) {
            if BUILT_IN.contains(&name.as_str()) {
                given.insert(name, parameter);
            } else if declaration(&name).is_some() {
                self.set(&name, &parameter.value)?;
            } else {
                let nearest = nearest(&name);
                unknown.push((name, nearest));
            }
        }
        Ok(unknown)
    }

    /// From now on the node runs a model of this many classes: what is read at the start only can no longer be set.
    ///
    /// # Errors
    /// If there are class thresholds for another number of classes.
    pub(super) fn start(&mut self, classes: usize) -> Result<(), ParameterError> {
        self.classes = Some(classes);
        self.set("class_thresholds", &self.class_thresholds.clone().into_value())
    }

    /// How the engine is to run the model.
    pub(super) fn engine_options(&self) -> engine::Options {
        let mut options = engine::Options { mode: self.mode, ..Default::default() };
        if self.threads > 0 {
            options.threads = self.threads;
        }
        if !self.kernel.is_empty() {
            options.kernel = Some(self.kernel.clone());
        }
        options
    }

    /// Which boxes are to be reported.
    pub(super) fn detector_options(&self) -> DetectorOptions {
        let narrowed = |thresholds: &[f64]| thresholds.iter().map(|&threshold| threshold as f32).collect();
        DetectorOptions {
            score_threshold: self.score_threshold as f32,
            class_thresholds: (!self.class_thresholds.is_empty()).then(|| narrowed(&self.class_thresholds)),
            nms_iou: self.nms_iou as f32,
            max_detections: self.max_detections,
        }
    }

    /// Quality of service of the image subscription.
    pub(super) fn qos(&self) -> QosProfile {
        let qos = QosProfile::sensor_data().keep_last(self.depth);
        let qos = match self.reliability {
            Reliability::BestEffort => qos.best_effort(),
            Reliability::Reliable => qos.reliable(),
        };
        match self.durability {
            Durability::Volatile => qos.volatile(),
            Durability::TransientLocal => qos.transient_local(),
        }
    }

    /// The quality of service that a camera has to offer, in words.
    pub(super) fn asked(&self) -> String {
        let (reliability, durability) = (name_of(&RELIABILITIES, self.reliability), name_of(&DURABILITIES, self.durability));
        format!("at least reliability {reliability} (qos.reliability) and durability {durability} (qos.durability)")
    }

    /// The value of a declared parameter.
    fn get(&self, name: &str) -> Option<ParameterValue> {
        Some(match name {
            "model.path" => self.model_path.clone().into_value(),
            "model.mode" => name_of(&MODES, self.mode).into_value(),
            "model.kernel" => self.kernel.clone().into_value(),
            "threads" => self.threads.into_value(),
            "score_threshold" => self.score_threshold.into_value(),
            "class_thresholds" => self.class_thresholds.clone().into_value(),
            "nms_iou" => self.nms_iou.into_value(),
            "max_detections" => self.max_detections.into_value(),
            "image_transport" => name_of(&TRANSPORTS, self.image_transport).into_value(),
            "qos.reliability" => name_of(&RELIABILITIES, self.reliability).into_value(),
            "qos.depth" => self.depth.into_value(),
            "qos.durability" => name_of(&DURABILITIES, self.durability).into_value(),
            _ => return None,
        })
    }

    /// Sets a parameter, or leaves everything as it was.
    fn set(&mut self, name: &str, value: &ParameterValue) -> Result<(), ParameterError> {
        self.try_set(name, value).map_err(|problem| ParameterError { name: name.into(), problem })
    }

    fn try_set(&mut self, name: &str, value: &ParameterValue) -> Result<(), Problem> {
        let Some(declared) = declaration(name) else {
            return Err(Problem::Unknown { nearest: nearest(name) });
        };
        // `ros2 param load` sets the unchanged ones too.
        if self.classes.is_some() && !declared.live && self.get(name).as_ref() != Some(value) {
            return Err(Problem::StartOnly);
        }
        match name {
            "model.path" => self.model_path = text(value, "the path of a model file, or empty")?,
            "model.mode" => self.mode = choice(value, &MODES)?,
            "model.kernel" => self.kernel = text(value, "the name of a kernel, or empty")?,
            "threads" => self.threads = integer(value, 0..=MAX_THREADS)?,
            "score_threshold" => self.score_threshold = fraction(value)?,
            "class_thresholds" => self.class_thresholds = fractions(value, self.classes)?,
            "nms_iou" => self.nms_iou = fraction(value)?,
            "max_detections" => self.max_detections = integer(value, 1..=MAX_CANDIDATES)?,
            "image_transport" => self.image_transport = choice(value, &TRANSPORTS)?,
            "qos.reliability" => self.reliability = choice(value, &RELIABILITIES)?,
            "qos.depth" => self.depth = integer(value, 1..=1000)?,
            "qos.durability" => self.durability = choice(value, &DURABILITIES)?,
            _ => unreachable!("every declared name is above; a test sets each of them"),
        }
        Ok(())
    }
}

/// How r2r declares, reads and sets parameters. Names are whole: there is no nesting.
impl RosParams for Parameters {
    fn register_parameters(
        &mut self,
        _prefix: &str,
        _parameter: Option<Parameter>,
        parameters: &mut IndexMap<String, Parameter>,
    ) -> r2r::Result<()> {
        for Declaration { name, description, .. } in DECLARED {
            let value = self.get_parameter(name)?;
            parameters.insert(name.into(), Parameter { value, description });
        }
        Ok(())
    }

    fn get_parameter(&mut self, name: &str) -> r2r::Result<ParameterValue> {
        self.get(name).ok_or_else(|| r2r::Error::InvalidParameterName { name: name.into() })
    }

    fn set_parameter(&mut self, name: &str, value: &ParameterValue) -> r2r::Result<()> {
        Ok(self.set(name, value)?)
    }

    fn check_parameter(&self, name: &str, value: &ParameterValue) -> r2r::Result<()> {
        Ok(self.clone().set(name, value)?)
    }
}

fn declaration(name: &str) -> Option<&'static Declaration> {
    const { &DECLARED }.iter().find(|declared| declared.name == name)
}

/// The declared name that takes the fewest changes of a character to become.
fn nearest(name: &str) -> &'static str {
    let names = DECLARED.map(|declared| declared.name);
    names.into_iter().min_by_key(|known| edit_distance(name, known)).expect("there are parameters")
}

/// Levenshtein's distance: characters to insert, remove or replace.
fn edit_distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut distances: Vec<usize> = (0..=to.len()).collect();
    for (row, char) in from.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut distances[0], row + 1);
        for (column, &other) in to.iter().enumerate() {
            let replaced = diagonal + usize::from(char != other);
            diagonal = distances[column + 1];
            distances[column + 1] = replaced.min(diagonal + 1).min(distances[column] + 1);
        }
    }
    distances[to.len()]
}

trait IntoValue {
    fn into_value(self) -> ParameterValue;
}

impl IntoValue for String {
    fn into_value(self) -> ParameterValue {
        ParameterValue::String(self)
    }
}

impl IntoValue for &str {
    fn into_value(self) -> ParameterValue {
        ParameterValue::String(self.into())
    }
}

impl IntoValue for usize {
    fn into_value(self) -> ParameterValue {
        ParameterValue::Integer(i64::try_from(self).expect("the range of every integer parameter is small"))
    }
}

impl IntoValue for f64 {
    fn into_value(self) -> ParameterValue {
        ParameterValue::Double(self)
    }
}

impl IntoValue for Vec<f64> {
    fn into_value(self) -> ParameterValue {
        ParameterValue::DoubleArray(self)
    }
}

fn name_of<T: PartialEq + Copy>(names: &[(&'static str, T)], value: T) -> &'static str {
    names.iter().find(|(_, named)| *named == value).expect("every choice has a name").0
}

/// A value as it is shown to people.
pub(super) fn shown(value: &ParameterValue) -> String {
    match value {
        ParameterValue::NotSet => "not set".into(),
        ParameterValue::Bool(value) => format!("the truth value {value}"),
        ParameterValue::Integer(value) => format!("the integer {value}"),
        ParameterValue::Double(value) => format!("{value:?}"),
        ParameterValue::String(value) => format!("'{value}'"),
        ParameterValue::DoubleArray(values) => format!("{values:?}"),
        ParameterValue::IntegerArray(values) => format!("the integers {values:?}"),
        other => format!("a {}", other.type_name()),
    }
}

fn wrong<T>(wanted: impl Into<String>, value: &ParameterValue) -> Result<T, Problem> {
    Err(Problem::Value { wanted: wanted.into(), found: shown(value) })
}

fn text(value: &ParameterValue, wanted: &str) -> Result<String, Problem> {
    match value {
        ParameterValue::String(text) => Ok(text.clone()),
        _ => wrong(wanted, value),
    }
}

fn choice<T: Copy>(value: &ParameterValue, choices: &[(&str, T); 2]) -> Result<T, Problem> {
    let chosen = match value {
        ParameterValue::String(text) => choices.iter().find(|(name, _)| name == text),
        _ => None,
    };
    let [(first, _), (second, _)] = choices;
    chosen.map_or_else(|| wrong(format!("'{first}' or '{second}'"), value), |&(_, choice)| Ok(choice))
}

fn integer(value: &ParameterValue, range: RangeInclusive<usize>) -> Result<usize, Problem> {
    let found = match value {
        ParameterValue::Integer(value) => usize::try_from(*value).ok(),
        _ => None,
    };
    match found {
        Some(found) if range.contains(&found) => Ok(found),
        _ => wrong(format!("an integer from {} to {}", range.start(), range.end()), value),
    }
}

const FRACTION: RangeInclusive<f64> = 0.0..=1.0;

fn fraction(value: &ParameterValue) -> Result<f64, Problem> {
    match value {
        ParameterValue::Double(found) if FRACTION.contains(found) => Ok(*found),
        _ => wrong("a number from 0.0 to 1.0, written with its point", value),
    }
}

/// Thresholds, one for each of `classes` if their number is known, or none.
fn fractions(value: &ParameterValue, classes: Option<usize>) -> Result<Vec<f64>, Problem> {
    let thresholds = match value {
        ParameterValue::DoubleArray(found) => Some(found.clone()),
        // An empty list has no type in YAML.
        ParameterValue::NotSet => Some(vec![]),
        ParameterValue::BoolArray(found) if found.is_empty() => Some(vec![]),
        ParameterValue::ByteArray(found) if found.is_empty() => Some(vec![]),
        ParameterValue::IntegerArray(found) if found.is_empty() => Some(vec![]),
        ParameterValue::StringArray(found) if found.is_empty() => Some(vec![]),
        _ => None,
    };
    let possible = |found: &[f64]| {
        found.is_empty()
            || classes.is_none_or(|classes| found.len() == classes)
                && found.iter().all(|threshold| FRACTION.contains(threshold))
    };
    match thresholds {
        Some(found) if possible(&found) => Ok(found),
        _ => {
            let count = classes.map_or("each class of the model".into(), |n| format!("each of the model's {n} classes"));
            wrong(format!("empty, or one number from 0.0 to 1.0, written with its point, for {count}"), value)
        }
    }
}

#[cfg(test)]
mod tests;
