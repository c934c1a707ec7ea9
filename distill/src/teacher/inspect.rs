//! Which tensors of a graph can be taps.

use super::{Teacher, TeacherError, feature_map, graph::OnnxFile, input_shape, prepared, run};
use crate::recipe::TeacherConfig;
use onebit_detector::network::{InputSize, Shape};

/// A tensor that can be a tap: an `f32` feature map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Its name in the graph.
    pub name: String,
    /// Type of the node that gives it out, such as `Conv`.
    pub operator: String,
    /// Its shape for one picture.
    pub shape: Shape,
}

/// Lists the tensors of a teacher that can be taps, in the order of its graph, and the size of picture for which their
/// shapes hold: `size`, or the only one that the network takes. The network is run once, on a grey picture.
///
/// # Errors
/// As [`Teacher::load`] and [`Teacher::features`]; and if the network takes any size and `size` is missing.
pub fn inspect(config: &TeacherConfig, size: Option<InputSize>) -> Result<(InputSize, Vec<Candidate>), TeacherError> {
    let file = OnnxFile::read(&config.file)?;
    let tensors: Vec<(&str, &str)> = file.tensors().filter(|(_, operator)| *operator != "Constant").collect();
    let mut teacher = Teacher::load(config, tensors.iter().map(|(name, _)| (*name).to_owned()).collect())?;
    let size = size.or_else(|| teacher.input.size()).ok_or_else(|| TeacherError::File {
        path: config.file.clone(),
        reason: "takes pictures of any size: say which (--input WIDTHxHEIGHT)".into(),
    })?;
    teacher.check_size(size)?;

    let grey = prepared(&vec![0.5; size.shape().values()], size, &config.input);
    let shape = input_shape(1, size, config.input.layout);
    let outputs = run(&mut teacher.session, &teacher.input.name, shape, &grey)
        .map_err(|e| TeacherError::Run { path: config.file.clone(), reason: e.to_string() })?;
    let candidate = |&(name, operator): &(&str, &str)| {
        let [_, channels, height, width] = feature_map(&outputs, name, 1).ok()?.shape;
        Some(Candidate { name: name.into(), operator: operator.into(), shape: Shape { channels, height, width } })
    };
    Ok((size, tensors.iter().filter_map(candidate).collect()))
}
