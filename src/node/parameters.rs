//! The node's parameters: `declaration` has what there is and what is possible, here are the values; `overrides` looks at
//! what file and command line set, `services` lets others read and set.

mod declaration;
pub(super) mod overrides;
pub(super) mod services;
mod value;

use self::{
    declaration::{Accepted, DECLARED, declaration, nearest},
    value::{IntoValue, shown},
};
use crate::{
    detection::DetectorOptions,
    engine::{self, Mode},
};
use r2r::{Parameter, ParameterValue, QosProfile, indexmap::IndexMap};
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
    use_sim_time: bool,
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

const MODES: [(&str, Mode); 2] = [("int8", Mode::Int8), ("f32", Mode::F32)];
const TRANSPORTS: [(&str, ImageTransport); 2] = [("raw", ImageTransport::Raw), ("compressed", ImageTransport::Compressed)];
const RELIABILITIES: [(&str, Reliability); 2] =
    [("best_effort", Reliability::BestEffort), ("reliable", Reliability::Reliable)];
const DURABILITIES: [(&str, Durability); 2] =
    [("volatile", Durability::Volatile), ("transient_local", Durability::TransientLocal)];

/// Why a parameter cannot be set.
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
    #[error("must be {wanted}; files and command line give it values of different types")]
    Types { wanted: String },
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
            use_sim_time: false,
            classes: None,
        }
    }
}

/// The number of six decimals nearest to `value`.
fn decimal(value: f32) -> f64 {
    (f64::from(value) * 1e6).round() / 1e6
}

impl Parameters {
    /// Takes what file and command line set out of `given`; `contradictory` are the names that they give values of several
    /// types. Returns the names that are no parameters of the node, each with the nearest one that is.
    ///
    /// # Errors
    /// If a value is not possible.
    pub(super) fn load(
        &mut self,
        given: &IndexMap<String, Parameter>,
        contradictory: &[String],
    ) -> Result<Vec<(String, &'static str)>, ParameterError> {
        let mut unknown = Vec::new();
        for (name, parameter) in given {
            match declaration(name) {
                None => unknown.push((name.clone(), nearest(name))),
                Some(declared) if contradictory.contains(name) => {
                    let problem = Problem::Types { wanted: declared.values.wanted(self.classes) };
                    return Err(ParameterError { name: name.clone(), problem });
                }
                Some(_) => self.set(name, &parameter.value)?,
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
            "use_sim_time" => self.use_sim_time.into_value(),
            _ => return None,
        })
    }

    /// Sets all these parameters, or leaves everything as it was. Returns those that have another value than before.
    ///
    /// # Errors
    /// If a parameter does not exist, is read at the start only, or cannot have that value.
    fn set_all(
        &mut self,
        values: &[(String, ParameterValue)],
    ) -> Result<Vec<(&'static str, ParameterValue)>, ParameterError> {
        let mut next = self.clone();
        for (name, value) in values {
            next.set(name, value)?;
        }
        let before = std::mem::replace(self, next);
        let values = DECLARED.iter().filter_map(|declared| Some((declared.name, self.get(declared.name)?)));
        Ok(values.filter(|(name, value)| before.get(name).as_ref() != Some(value)).collect())
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
        let Some(accepted) = declared.values.accept(value, self.classes) else {
            return Err(Problem::Value { wanted: declared.values.wanted(self.classes), found: shown(value) });
        };
        match (name, accepted) {
            ("model.path", Accepted::Text(path)) => self.model_path = path,
            ("model.mode", Accepted::Choice(mode)) => self.mode = MODES[mode].1,
            ("model.kernel", Accepted::Text(kernel)) => self.kernel = kernel,
            ("threads", Accepted::Integer(threads)) => self.threads = threads,
            ("score_threshold", Accepted::Number(threshold)) => self.score_threshold = threshold,
            ("class_thresholds", Accepted::Numbers(thresholds)) => self.class_thresholds = thresholds,
            ("nms_iou", Accepted::Number(iou)) => self.nms_iou = iou,
            ("max_detections", Accepted::Integer(count)) => self.max_detections = count,
            ("image_transport", Accepted::Choice(transport)) => self.image_transport = TRANSPORTS[transport].1,
            ("qos.reliability", Accepted::Choice(reliability)) => self.reliability = RELIABILITIES[reliability].1,
            ("qos.depth", Accepted::Integer(depth)) => self.depth = depth,
            ("qos.durability", Accepted::Choice(durability)) => self.durability = DURABILITIES[durability].1,
            ("use_sim_time", Accepted::Truth(use_sim_time)) => self.use_sim_time = use_sim_time,
            (name, accepted) => unreachable!("{name} is declared otherwise than {accepted:?}; a test sets each of them"),
        }
        Ok(())
    }
}

fn name_of<T: PartialEq + Copy>(names: &[(&'static str, T)], value: T) -> &'static str {
    names.iter().find(|(_, named)| *named == value).expect("every choice has a name").0
}

const fn choices<T>(names: &[(&'static str, T); 2]) -> [&'static str; 2] {
    [names[0].0, names[1].0]
}

#[cfg(test)]
mod tests;
