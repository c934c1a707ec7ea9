//! A small network of this project's own as a teacher: its taps, read by ONNX Runtime, are its layers' outputs.

use onebit_detector::{
    model_file::Model,
    network::{InputSize, NetworkSpec, Topology},
    onnx::{self, Outputs},
};
use onebit_distill::{
    data::Batch,
    recipe::{ColourOrder, Layout, Provider, TeacherConfig, TeacherInput},
    teacher::{Candidate, FeatureMap, Teacher, TeacherError, inspect},
};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

const SIZE: InputSize = InputSize { width: 96, height: 64 };

/// A random network as an ONNX file.
fn write(folder: &Path, outputs: Outputs<'_>) -> (PathBuf, Model) {
    let spec = NetworkSpec { width: 0.125, input: SIZE, ..NetworkSpec::preset(Topology::DarknetYolo64) };
    let model = Model::random(spec.build().unwrap(), 4);
    let path = folder.join("teacher.onnx");
    fs::write(&path, onnx::export(&model, outputs).unwrap()).unwrap();
    (path, model)
}

fn config(file: &Path) -> TeacherConfig {
    TeacherConfig { file: file.into(), input: TeacherInput::default(), provider: Provider::Cpu, threads: 1, cache: None }
}

/// Two different pictures.
fn batch() -> Batch {
    let count = 2 * SIZE.shape().values();
    let values = (0..count).map(|at| (at % 251) as f32 / 250.0).collect();
    Batch { size: SIZE, values, labels: vec![Vec::new(); 2], unlabelled: vec![Vec::new(); 2] }
}

fn features(config: &TeacherConfig, taps: &[&str], batch: &Batch) -> Result<Vec<FeatureMap>, TeacherError> {
    Teacher::load(config, taps.iter().map(|tap| (*tap).to_owned()).collect())?.features(batch)
}

#[test]
fn taps_made_outputs_give_what_declared_outputs_give() {
    let folder = tempfile::tempdir().unwrap();
    let taps = ["conv10", "conv16", "prediction"];
    let (path, model) = write(folder.path(), Outputs::EveryLayer);
    let declared = features(&config(&path), &taps, &batch()).unwrap();
    let (path, _) = write(folder.path(), Outputs::Last);
    let tapped = features(&config(&path), &taps, &batch()).unwrap();
    for ((name, declared), tapped) in taps.iter().zip(declared).zip(tapped) {
        let index = model.network.layers().iter().position(|layer| layer.name == *name).unwrap();
        let shape = model.network.shapes()[index];
        assert_eq!(tapped.shape, [2, shape.channels, shape.height, shape.width], "{name}");
        let largest = declared.values.iter().fold(0f32, |m, v| m.max(v.abs()));
        for (a, b) in tapped.values.iter().zip(&declared.values) {
            assert!((a - b).abs() < 1e-5 * largest, "{name}: {a} beside {b}");
        }
        let [first, second] = [0, 1].map(|part| tapped.clone().split(2).swap_remove(part));
        assert_ne!(first.values, second.values, "each picture has features of its own");
        assert_eq!([first.values, second.values].concat(), tapped.values);
    }
}

#[test]
fn the_input_follows_the_recipe() {
    let folder = tempfile::tempdir().unwrap();
    let (path, _) = write(folder.path(), Outputs::Last);
    let plain = features(&config(&path), &["conv10"], &batch()).unwrap();
    // Blue and red exchanged, and 0..255 taken back to 0..1: the same network sees the same picture.
    let bgr = TeacherInput { order: ColourOrder::Bgr, range: 255.0, std: [255.0; 3], ..TeacherInput::default() };
    let mut exchanged = batch();
    let plane = SIZE.width * SIZE.height;
    for picture in exchanged.values.chunks_exact_mut(3 * plane) {
        let (red, rest) = picture.split_at_mut(plane);
        red.swap_with_slice(&mut rest[plane..]);
    }
    let same = features(&TeacherConfig { input: bgr, ..config(&path) }, &["conv10"], &exchanged).unwrap();
    for (a, b) in plain[0].values.iter().zip(&same[0].values) {
        assert!((a - b).abs() < 1e-4, "{a} beside {b}");
    }
}

#[test]
fn candidates_are_listed_with_their_shapes() {
    let folder = tempfile::tempdir().unwrap();
    let (path, model) = write(folder.path(), Outputs::Last);
    let (size, candidates) = inspect(&config(&path), None).unwrap();
    assert_eq!(size, SIZE);
    let network = &model.network;
    for (layer, shape) in network.layers().iter().zip(network.shapes()) {
        let candidate = candidates.iter().find(|candidate| candidate.name == layer.name).expect(&layer.name);
        assert_eq!(candidate.shape, *shape, "{}", layer.name);
    }
    let operator =
        |name: &str| candidates.iter().find(|c| c.name == name).map(|Candidate { operator, .. }| operator.as_str());
    assert_eq!(operator("conv2"), Some("LeakyRelu"));
    assert_eq!(operator("conv2.convolution"), Some("Conv"), "also what lies within a layer");
    assert_eq!(operator("reorg27.split"), None, "six axes are no feature map");
}

#[test]
fn what_is_wrong_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let (path, _) = write(folder.path(), Outputs::Last);
    let fails = |config: &TeacherConfig, tap: &str, batch: &Batch, words: &[&str]| {
        let error = features(config, &[tap], batch).expect_err(tap).to_string();
        assert!(words.iter().all(|word| error.contains(word)), "{error}");
    };
    let good = config(&path);
    fails(&good, "conv11", &batch(), &["teacher.onnx", "'conv11'", "inspect"]);
    fails(&good, "reorg27.split", &batch(), &["'reorg27.split'", "not a feature map"]);
    let large = InputSize { width: 128, height: 64 };
    let wide = Batch { size: large, values: vec![0.0; 2 * large.shape().values()], ..batch() };
    fails(&good, "conv10", &wide, &["96x64", "128x64"]);
    let nhwc = TeacherInput { layout: Layout::Nhwc, ..TeacherInput::default() };
    fails(
        &TeacherConfig { input: nhwc, ..good.clone() },
        "conv10",
        &batch(),
        &["'image'", "[1, 3, 64, 96]", "height, width, 3]"],
    );
    fails(&config(Path::new("nowhere.onnx")), "conv10", &batch(), &["nowhere.onnx"]);
    fs::write(&path, b"no network").unwrap();
    fails(&good, "conv10", &batch(), &["teacher.onnx", "not an ONNX file"]);
    let bytes = fs::read(write(folder.path(), Outputs::Last).0).unwrap();
    fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    fails(&good, "conv10", &batch(), &["teacher.onnx", "not an ONNX file"]);
}

#[test]
fn a_missing_or_foreign_library_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let (path, _) = write(folder.path(), Outputs::Last);
    let inspect = |library: Option<&Path>| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_distill"));
        command.args(["teacher", "inspect"]).arg(&path).env_remove("ORT_DYLIB_PATH");
        if let Some(library) = library {
            command.env("ORT_DYLIB_PATH", library);
        }
        let output = command.output().expect("the program is built with its tests");
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    for library in [None, Some(path.as_path()), Some(Path::new("/nowhere/libonnxruntime.so"))] {
        let (code, message) = inspect(library);
        assert_eq!(code, Some(1), "{message}");
        assert!(message.contains("ORT_DYLIB_PATH") && message.contains("1.24"), "{message}");
    }
}
