//! What the parameters are: names, meanings, possible values, and whether they change while the node runs.

use super::{DURABILITIES, MODES, RELIABILITIES, TRANSPORTS, choices, value};
use crate::{detection::nms::MAX_CANDIDATES, engine::MAX_THREADS};
use r2r::{
    ParameterValue,
    rcl_interfaces::msg::{FloatingPointRange, IntegerRange, ParameterDescriptor},
};
use std::ops::RangeInclusive;

/// A parameter as it is declared.
pub(super) struct Declaration {
    pub(super) name: &'static str,
    /// What it means.
    description: &'static str,
    /// Whether it can be set while the node runs.
    pub(super) live: bool,
    /// What it can be.
    pub(super) values: Values,
}

/// The values that a parameter can take. Checks, messages and descriptors are all made from it.
pub(super) enum Values {
    Truth,
    /// Any text; the words say which texts make sense.
    Text(&'static str),
    /// One of these texts.
    Choice([&'static str; 2]),
    /// An integer of the range, which holds none below 0.
    Integer(RangeInclusive<i64>),
    /// A number of the range.
    Number(RangeInclusive<f64>),
    /// A number of the range for each class of the model, or none at all.
    NumberPerClass(RangeInclusive<f64>),
}

/// A value that fits its parameter.
#[derive(Debug, PartialEq)]
pub(super) enum Accepted {
    Truth(bool),
    Text(String),
    /// Which one of the choices.
    Choice(usize),
    Integer(usize),
    Number(f64),
    Numbers(Vec<f64>),
}

const fn at_start(name: &'static str, values: Values, description: &'static str) -> Declaration {
    Declaration { name, description, live: false, values }
}

const fn live(name: &'static str, values: Values, description: &'static str) -> Declaration {
    Declaration { name, description, live: true, values }
}

const FRACTION: RangeInclusive<f64> = 0.0..=1.0;

pub(super) static DECLARED: [Declaration; 13] = [
    at_start(
        "model.path",
        Values::Text("the path of a model file, or empty"),
        "Model file; empty: the one installed with the node",
    ),
    at_start("model.mode", Values::Choice(choices(&MODES)), "Activations: int8 (fast) or f32 (reference)"),
    at_start(
        "model.kernel",
        Values::Text("the name of a kernel, or empty"),
        "Name of the kernel that runs the network; empty: the best for this CPU",
    ),
    at_start("threads", Values::Integer(0..=MAX_THREADS as i64), "Threads that compute; 0: one per core, at most 4"),
    live("score_threshold", Values::Number(FRACTION), "Lowest score of a reported box"),
    live(
        "class_thresholds",
        Values::NumberPerClass(FRACTION),
        "Lowest score for each class of the model; empty: score_threshold for all",
    ),
    live(
        "nms_iou",
        Values::Number(FRACTION),
        "Of two boxes of one class that overlap by more (IoU), the better is reported",
    ),
    live("max_detections", Values::Integer(1..=MAX_CANDIDATES as i64), "Largest number of boxes reported for an image"),
    at_start(
        "image_transport",
        Values::Choice(choices(&TRANSPORTS)),
        "How images come: raw (topic image) or compressed (image/compressed)",
    ),
    at_start("qos.reliability", Values::Choice(choices(&RELIABILITIES)), "Reliability of the image subscription"),
    at_start("qos.depth", Values::Integer(1..=1000), "Images that the middleware keeps for the node"),
    at_start("qos.durability", Values::Choice(choices(&DURABILITIES)), "Durability of the image subscription"),
    live("use_sim_time", Values::Truth, "No effect: the node reads no clock, its messages have the images' stamps"),
];

/// The declaration of that name.
pub(super) fn declaration(name: &str) -> Option<&'static Declaration> {
    DECLARED.iter().find(|declared| declared.name == name)
}

impl Declaration {
    /// What `ros2 param describe` shows.
    pub(super) fn descriptor(&self) -> ParameterDescriptor {
        let mut descriptor = ParameterDescriptor {
            name: self.name.into(),
            type_: self.values.kind(),
            description: self.description.into(),
            read_only: !self.live,
            ..Default::default()
        };
        match &self.values {
            Values::Truth => (),
            Values::Text(_) | Values::Choice(_) => descriptor.additional_constraints = self.values.wanted(None),
            Values::Integer(range) => {
                let (from_value, to_value) = (*range.start(), *range.end());
                descriptor.integer_range = vec![IntegerRange { from_value, to_value, step: 1 }];
            }
            Values::Number(range) => descriptor.floating_point_range = vec![continuous(range)],
            Values::NumberPerClass(range) => {
                descriptor.floating_point_range = vec![continuous(range)];
                descriptor.additional_constraints = self.values.wanted(None);
            }
        }
        descriptor
    }
}

/// A range without steps.
fn continuous(range: &RangeInclusive<f64>) -> FloatingPointRange {
    FloatingPointRange { from_value: *range.start(), to_value: *range.end(), step: 0.0 }
}

impl Values {
    /// The type, as messages have it.
    fn kind(&self) -> u8 {
        match self {
            Self::Truth => value::BOOL,
            Self::Text(_) | Self::Choice(_) => value::STRING,
            Self::Integer(_) => value::INTEGER,
            Self::Number(_) => value::DOUBLE,
            Self::NumberPerClass(_) => value::DOUBLE_ARRAY,
        }
    }

    /// In words, for a model of `classes` classes, if their number is known.
    pub(super) fn wanted(&self, classes: Option<usize>) -> String {
        match self {
            Self::Truth => "true or false".into(),
            Self::Text(wanted) => (*wanted).into(),
            Self::Choice([first, second]) => format!("'{first}' or '{second}'"),
            Self::Integer(range) => format!("an integer from {} to {}", range.start(), range.end()),
            Self::Number(range) => {
                format!("a number from {:?} to {:?}, written with its point", range.start(), range.end())
            }
            Self::NumberPerClass(range) => format!(
                "empty, or one number from {:?} to {:?}, written with its point, for {}",
                range.start(),
                range.end(),
                classes.map_or("each class of the model".into(), |n| format!("each of the model's {n} classes"))
            ),
        }
    }

    /// The value, if it fits a model of `classes` classes or, while their number is not known, of any.
    pub(super) fn accept(&self, value: &ParameterValue, classes: Option<usize>) -> Option<Accepted> {
        match (self, value) {
            (Self::Truth, &ParameterValue::Bool(truth)) => Some(Accepted::Truth(truth)),
            (Self::Text(_), ParameterValue::String(text)) => Some(Accepted::Text(text.clone())),
            (Self::Choice(names), ParameterValue::String(text)) => {
                names.iter().position(|name| name == text).map(Accepted::Choice)
            }
            (Self::Integer(range), &ParameterValue::Integer(value)) if range.contains(&value) => {
                usize::try_from(value).ok().map(Accepted::Integer)
            }
            (Self::Number(range), &ParameterValue::Double(value)) => {
                range.contains(&value).then_some(Accepted::Number(value))
            }
            (Self::NumberPerClass(range), value) => {
                let numbers = numbers(value)?;
                let counted = numbers.is_empty() || classes.is_none_or(|classes| numbers.len() == classes);
                let possible = counted && numbers.iter().all(|number| range.contains(number));
                possible.then(|| Accepted::Numbers(numbers.to_vec()))
            }
            _ => None,
        }
    }
}

/// A list of numbers. An empty list has no type in YAML.
fn numbers(value: &ParameterValue) -> Option<&[f64]> {
    let empty = match value {
        ParameterValue::DoubleArray(found) => return Some(found),
        ParameterValue::NotSet => true,
        ParameterValue::BoolArray(found) => found.is_empty(),
        ParameterValue::ByteArray(found) => found.is_empty(),
        ParameterValue::IntegerArray(found) => found.is_empty(),
        ParameterValue::StringArray(found) => found.is_empty(),
        _ => false,
    };
    empty.then_some(&[])
}

/// The declared name that takes the fewest changes of a character to become.
pub(super) fn nearest(name: &str) -> &'static str {
    let names = DECLARED.iter().map(|declared| declared.name);
    names.min_by_key(|known| edit_distance(name, known)).expect("there are parameters")
}

/// Levenshtein's distance: characters to insert, remove or replace.
pub(super) fn edit_distance(from: &str, to: &str) -> usize {
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
