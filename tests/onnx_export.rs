//! The exported ONNX file, run by ONNX Runtime: first against a plain 64-bit reference, then the engine against it.

#[path = "support/models.rs"]
mod models;
#[path = "support/onnx_runtime.rs"]
mod onnx_runtime;
#[path = "support/python.rs"]
mod python;
#[path = "support/reference.rs"]
mod reference;

use image::{RgbImage, imageops, imageops::FilterType};
use models::{calibrated, network, tiny};
use ndarray::Array3;
use onebit_detector::{
    engine::{self, Mode, Options, Session},
    model_file::{LayerWeights, Model},
    network::{InputSize, Network, Topology},
    onnx::{self, Outputs},
};
use std::fs;

/// A driving frame at the network's input size.
fn frame(size: InputSize) -> RgbImage {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/demo/frames/highway_015.jpg");
    let frame = image::open(path).unwrap().into_rgb8();
    imageops::resize(&frame, size.width as u32, size.height as u32, FilterType::Triangle)
}

/// The image as a network reads it: `[3, height, width]`, 0 to 1.
fn planes(image: &RgbImage) -> Array3<f32> {
    let shape = (3, image.height() as usize, image.width() as usize);
    Array3::from_shape_fn(shape, |(c, y, x)| f32::from(image.get_pixel(x as u32, y as u32)[c]) / 255.0)
}

/// Largest difference, as a part of the largest value.
fn relative_error<T: Copy + Into<f64>>(found: &[f32], expected: &Array3<T>) -> f64 {
    let largest = expected.fold(0.0, |m: f64, &v| m.max(v.into().abs()));
    let difference = found.iter().zip(expected).map(|(&f, &e)| (f64::from(f) - e.into()).abs()).fold(0.0, f64::max);
    difference / largest
}

/// Compares every layer's output with the reference; gives the reference's outputs.
fn compare_every_layer(network: Network, seed: u64) -> Vec<Array3<f64>> {
    let model = Model::random(network, seed);
    let image = planes(&frame(model.network.input()));
    let file = onnx::export(&model, Outputs::EveryLayer).unwrap();
    let outputs = onnx_runtime::run(&file, &image);
    let expected = reference::run(&model, &image);
    assert_eq!(outputs.len(), expected.len());
    for ((layer, output), expected) in model.network.layers().iter().zip(outputs).zip(&expected) {
        assert_eq!(output.name, layer.name);
        let (channels, height, width) = expected.dim();
        assert_eq!(output.shape, [1, channels, height, width], "{}", layer.name);
        let error = relative_error(&output.values, expected);
        assert!(error < 1e-5, "{}: {error:e}", layer.name);
    }
    expected
}

#[test]
fn onnx_runtime_agrees_on_each_layer() {
    for (topology, width, input) in [
        (Topology::DarknetYolo, 0.125, "96x64"),
        (Topology::DarknetYolo64, 0.125, "64x96"),
        (Topology::MobilenetYolo, 0.25, "96x64"),
    ] {
        let outputs = compare_every_layer(network(topology, width, input), 1);
        for (index, output) in outputs.iter().enumerate() {
            let rms = output.mapv(|v| v * v).mean().unwrap().sqrt();
            assert!((0.1..4.0).contains(&rms), "{topology}: random weights give layer {index} a root mean square of {rms}");
        }
    }
}

#[test]
fn onnx_runtime_agrees_on_odd_shapes() {
    (0..8).for_each(|seed| drop(compare_every_layer(tiny(), seed)));
}

/// The engine in f32 mode gives what ONNX Runtime gives, layer by layer.
fn compare_engine(network: Network, kernel: &str) {
    let model = Model::random(network, 6);
    let frame = frame(model.network.input());
    let file = onnx::export(&model, Outputs::EveryLayer).unwrap();
    let outputs = onnx_runtime::run(&file, &planes(&frame));
    let options = Options { mode: Mode::F32, threads: 2, kernel: Some(kernel.into()), keep_layers: true };
    let mut session = Session::new(&model, &options).unwrap();
    let mut input = session.input_mut();
    for (y, row) in frame.chunks_exact(3 * frame.width() as usize).enumerate() {
        input.write_row(y, row);
    }
    session.run();
    for (index, output) in outputs.iter().enumerate() {
        let error = relative_error(&output.values, &session.layer(index));
        assert!(error < 1e-4, "{kernel} on {}, {}: {error:e}", model.network.name(), output.name);
    }
}

#[test]
fn the_engine_agrees_with_onnx_runtime_on_each_layer() {
    for (topology, width) in [(Topology::DarknetYolo, 0.25), (Topology::DarknetYolo64, 0.25), (Topology::MobilenetYolo, 0.5)]
    {
        for kernel in engine::kernels(Mode::F32) {
            compare_engine(network(topology, width, "224x128"), kernel);
        }
    }
}

#[test]
fn the_engine_agrees_with_onnx_runtime_at_full_width() {
    let best = engine::kernels(Mode::F32)[0];
    compare_engine(network(Topology::DarknetYolo, 1.0, "160x96"), best);
}

#[test]
fn by_default_only_the_last_layer_is_given_out() {
    let model = Model::random(tiny(), 9);
    let image = planes(&frame(model.network.input()));
    let outputs = onnx_runtime::run(&onnx::export(&model, Outputs::default()).unwrap(), &image);
    assert_eq!(outputs.iter().map(|o| o.name.as_str()).collect::<Vec<_>>(), ["prediction"]);
    let expected = reference::run(&model, &image);
    assert!(relative_error(&outputs[0].values, &expected[expected.len() - 1]) < 1e-5);
}

#[test]
fn chosen_layers_are_given_out_beside_the_last() {
    let model = Model::random(tiny(), 9);
    let names = |layers: &[&str]| layers.iter().map(|layer| (*layer).to_owned()).collect::<Vec<_>>();
    let file = onnx::export(&model, Outputs::LastAnd(&names(&["pool", "bits"]))).unwrap();
    let outputs = onnx_runtime::run(&file, &planes(&frame(model.network.input())));
    assert_eq!(outputs.iter().map(|o| o.name.as_str()).collect::<Vec<_>>(), ["bits", "pool", "prediction"]);
    let error = onnx::export(&model, Outputs::LastAnd(&names(&["pool", "bit"]))).unwrap_err().to_string();
    assert_eq!(error, "layer 'bit': the network has no such layer");
}

#[test]
fn onnx_runtime_agrees_on_a_network_in_full_precision() {
    let full = network(Topology::DarknetYolo64, 0.125, "64x96").in_full_precision();
    assert!(Model::random(full.clone(), 1).weights.iter().all(|weights| !matches!(weights, LayerWeights::Binary(_))));
    compare_every_layer(full, 1);
}

#[test]
fn the_onnx_checker_passes_it() {
    let script = r#"
import json, sys
import numpy as np
import onnx
model = onnx.load(sys.argv[1])
onnx.checker.check_model(model, full_check=True)
weights = {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer}
magnitudes = [np.unique(np.abs(filter)).tolist() for filter in weights["conv2.weight"]]
print(json.dumps([[n.op_type for n in model.graph.node], magnitudes]))
"#;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.onnx");
    for topology in Topology::ALL {
        let model = Model::random(network(topology, 0.125, "96x64"), 4);
        fs::write(&path, onnx::export(&model, Outputs::EveryLayer).unwrap()).unwrap();
        let script = if topology == Topology::MobilenetYolo { script.replace("conv2", "pointwise1") } else { script.into() };
        let printed = python::python(&script, &path);
        let (operators, magnitudes): (Vec<String>, Vec<Vec<f32>>) = serde_json::from_str(&printed).unwrap();
        for operator in &operators {
            let allowed = ["Conv", "Relu", "LeakyRelu", "MaxPool", "Reshape", "Transpose", "Concat"];
            assert!(allowed.contains(&operator.as_str()), "{operator}");
        }
        let LayerWeights::Binary(binary) = &model.weights[2] else { panic!("the third layer is binary") };
        let expected: Vec<_> = binary.scale.iter().map(|scale| vec![scale.abs()]).collect();
        assert_eq!(magnitudes, expected, "each filter of a binary layer is ±α");
    }
}

#[test]
fn calibration_changes_nothing() {
    let model = Model::random(tiny(), 4);
    let export = |model: &Model| onnx::export(model, Outputs::Last).unwrap();
    assert!(export(&model) == export(&calibrated(model)), "the file keeps 32-bit floats");
}

#[test]
fn a_model_that_does_not_fit_its_network_is_refused() {
    let mut model = Model::random(tiny(), 4);
    model.weights.swap(0, 2);
    let error = onnx::export(&model, Outputs::Last).unwrap_err().to_string();
    assert_eq!(error, "layer 'first': must have full-precision weights");
}
