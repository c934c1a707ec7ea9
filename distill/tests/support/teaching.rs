//! Recipes with a teacher: a random network of this project's own, written as ONNX.

use onebit_detector::{
    model_file::Model,
    network::{Description, InputSize, Layer, Network, NetworkSpec, Source, Topology},
    onnx::{self, Outputs},
};
use onebit_distill::recipe::Recipe;
use std::{fs, path::Path};

/// The window of the recipes.
pub(crate) const SIZE: InputSize = InputSize { width: 64, height: 64 };

/// A teacher twice as wide as the student, for pictures of this size.
pub(crate) fn teacher(input: InputSize) -> Model {
    let spec = NetworkSpec { width: 0.25, input, ..NetworkSpec::preset(Topology::DarknetYolo64) };
    Model::random(spec.build().unwrap(), 9)
}

pub(crate) fn write(folder: &Path, model: &Model) {
    fs::write(folder.join("teacher.onnx"), onnx::export(model, Outputs::Last).unwrap()).unwrap();
}

/// A recipe with these further lines, beside its teacher.
pub(crate) fn recipe(folder: &Path, lines: &str) -> Recipe {
    write(folder, &teacher(SIZE));
    super::support::loaded(folder, "darknet-yolo-64", lines)
}

/// The layers of [`teacher`] before its space-to-depth, which ONNX files of this project have for one size alone.
pub(crate) fn convolutional_teacher() -> Model {
    let whole = teacher(SIZE).network;
    let count = whole.layers().iter().position(|layer| layer.name == "conv16").unwrap() + 1;
    let prediction = whole.layers().last().unwrap().clone();
    let mut layers = whole.layers()[..count].to_vec();
    layers.push(Layer { inputs: vec![Source::Layer(count - 1)], ..prediction });
    let (name, classes, head) = (whole.name().to_owned(), whole.classes().to_vec(), whole.head().clone());
    Model::random(Network::new(Description { name, input: SIZE, classes, layers, head }).unwrap(), 9)
}
