//! Weights of other programs: read right, and refused with a reason where they are wrong.

use burn::tensor::{Device, Tensor, TensorData};
use onebit_detector::network::{InputSize, Network, NetworkSpec, Topology};
use onebit_distill::{
    recipe::Binarization,
    student::Student,
    training::{Checkpoint, TrainError, train},
    weights::{self, Filled, WeightsError},
};
use serde_json::Value;
use std::{fs, path::Path};

#[path = "support/bits.rs"]
mod bits;
#[path = "../../tests/support/python.rs"]
mod python;
mod support;

const SIZE: InputSize = InputSize { width: 96, height: 64 };
/// Bytes of Darknet's header.
const HEADER: usize = 20;

fn network(classes: usize) -> Network {
    let classes = (0..classes).map(|n| format!("class{n}")).collect();
    let spec = NetworkSpec { width: 0.125, input: SIZE, classes, ..NetworkSpec::preset(Topology::DarknetYolo64) };
    spec.build().unwrap()
}

/// Writes `net.weights` and `net.safetensors`; gives a picture and what NumPy makes of it with these weights.
fn written(folder: &Path) -> Value {
    serde_json::from_str(&python::python(include_str!("support/darknet.py"), folder)).unwrap()
}

fn load(path: &Path, network: &Network) -> Result<(Student, Filled), WeightsError> {
    weights::load(path, network, Student::new(network, Binarization::default(), &Device::flex()))
}

fn vector(value: &Value) -> Vec<f32> {
    serde_json::from_value(value.clone()).unwrap()
}

#[test]
fn a_darknet_file_and_safetensors_give_what_numpy_gives() {
    let folder = tempfile::tempdir().unwrap();
    let reference = written(folder.path());
    let network = network(3);
    let image = TensorData::new(vector(&reference["image"]), [1, 3, SIZE.height, SIZE.width]);
    let expected = vector(&reference["output"]);
    let largest = expected.iter().fold(0f32, |m, v| m.max(v.abs()));
    for name in ["net.weights", "net.safetensors"] {
        let (student, filled) = load(&folder.path().join(name), &network).unwrap();
        assert_eq!(filled, Filled { layers: 23, of: 23, last: "prediction".into(), left_out: None });
        let output = student.forward(Tensor::from_data(image.clone(), &Device::flex()));
        assert_eq!(output.dims()[1..], [40, 2, 3]);
        let output: Vec<f32> = output.into_data().try_to_vec().unwrap();
        for (found, expected) in output.iter().zip(&expected) {
            assert!((found - expected).abs() < 1e-4 * largest, "{name}: {found}, in NumPy {expected}");
        }
    }
    let [darknet, tensors] = ["net.weights", "net.safetensors"].map(|name| load(&folder.path().join(name), &network));
    assert_eq!(bits::bits(&darknet.unwrap().0), bits::bits(&tensors.unwrap().0));
}

#[test]
fn a_backbone_fills_the_first_layers() {
    let folder = tempfile::tempdir().unwrap();
    written(folder.path());
    let network = network(3);
    let (whole, _) = load(&folder.path().join("net.weights"), &network).unwrap();
    let fresh = Student::new(&network, Binarization::default(), &Device::flex());
    let up_to_conv22: usize = (0..18).map(|at| values(&whole, at)).sum();
    let bytes = fs::read(folder.path().join("net.weights")).unwrap();
    let backbone = folder.path().join("darknet19_448.conv.23");
    fs::write(&backbone, &bytes[..HEADER + 4 * up_to_conv22]).unwrap();

    let (student, filled) = weights::load(&backbone, &network, fresh.clone()).unwrap();
    assert_eq!(filled, Filled { layers: 18, of: 23, last: "conv22".into(), left_out: None });
    for (index, filters) in student.filters.iter().enumerate() {
        let source = if index < 18 { &whole } else { &fresh };
        assert_eq!(bits::bits(filters), bits::bits(&source.filters[index]), "layer {index}");
    }
}

/// Values of the layer `index`, running statistics included.
fn values(student: &Student, index: usize) -> usize {
    bits::bits(&student.filters[index]).len()
}

#[test]
fn a_last_layer_of_other_classes_is_left_out() {
    let folder = tempfile::tempdir().unwrap();
    written(folder.path());
    let network = network(1);
    for name in ["net.weights", "net.safetensors"] {
        let (_, filled) = load(&folder.path().join(name), &network).unwrap();
        assert_eq!(filled, Filled { layers: 22, of: 23, last: "conv29".into(), left_out: Some(40) }, "{name}");
        assert!(filled.to_string().contains("40 outputs"), "{filled}");
    }
}

#[test]
fn a_wrong_darknet_file_is_refused_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    written(folder.path());
    let good = fs::read(folder.path().join("net.weights")).unwrap();
    let network = network(3);
    let path = folder.path().join("bad.weights");
    let fails = |bytes: &[u8], words: &[&str]| {
        fs::write(&path, bytes).unwrap();
        let error = load(&path, &network).expect_err(words[0]).to_string();
        assert!(error.contains("bad.weights") && words.iter().all(|word| error.contains(word)), "{error}");
    };
    let first = 8 * 3 * 9 + 4 * 8; // values of conv0
    let second = first + 8 * 8 * 9 + 4 * 8;
    let (first_words, second_words) =
        (format!("{first} up to the end of 'conv0'"), format!("{second} up to the end of 'conv2'"));
    fails(&good[..HEADER + 4 * (first + 5)], &[&format!("holds {} values", first + 5), &first_words, &second_words]);
    fails(&good[..HEADER + 4 * 5], &["holds 5 values", &first_words]);
    fails(&good[..HEADER], &["holds 0 values", &first_words]);
    fails(&good[..good.len() - 4], &["up to the end of 'conv29'", "up to the end of 'prediction'"]);
    fails(&[&good[..], &[0; 8]].concat(), &["up to the end of 'prediction'", "another network"]);
    fails(&good[..good.len() - 3], &["not a Darknet weights file", "1 bytes of one more"]);
    fails(&good[..7], &["7 bytes, less than a header"]);
    fails(&good[..14], &["14 bytes, less than a header"]);
    fails(b"\x89PNG\r\n\x1a\n and what follows", &["not a Darknet weights file: version"]);
    // Version 0.1 counts pictures in four bytes.
    let old = [&[0u8; 4][..], &1i32.to_le_bytes(), &good[8..12], &good[12..16], &good[HEADER..]].concat();
    fs::write(&path, &old).unwrap();
    load(&path, &network).unwrap();

    let with = |value: f32, at: usize| {
        let mut bytes = good.clone();
        bytes[HEADER + 4 * at..][..4].copy_from_slice(&value.to_le_bytes());
        bytes
    };
    fails(&with(f32::NAN, 3), &["layer 'conv0', shift[3]: NaN"]);
    fails(&with(f32::INFINITY, first + 4 * 8), &["layer 'conv2', weights[0]: inf"]);
    fails(&with(-0.5, 3 * 8 + 1), &["layer 'conv0', variance[1]: -0.5"]);
    let error = load(Path::new("nowhere.weights"), &network).unwrap_err().to_string();
    assert!(error.contains("nowhere.weights"), "{error}");
}

#[test]
fn wrong_tensors_are_named() {
    let folder = tempfile::tempdir().unwrap();
    written(folder.path());
    let network = network(3);
    let good = folder.path().join("net.safetensors");
    let path = folder.path().join("bad.safetensors");
    for (change, words) in [
        ("del t['conv5.norm.bias']", &["'conv5.norm.bias'", "[8]"][..]),
        ("[t.pop(name) for name in list(t) if name.startswith('conv5.')]", &["'conv5.weight'", "[8, 16, 1, 1]"]),
        ("t.clear()", &["'conv0.weight'", "[8, 3, 3, 3]"]),
        ("t['backbone.0.weight'] = t.pop('conv0.weight')", &["'backbone.0.weight'", "like 'conv0.weight'"]),
        ("t['conv2.weight'] = t['conv2.weight'][:4]", &["'conv2.weight'", "[4, 8, 3, 3]", "[8, 8, 3, 3]"]),
        ("t['conv2.weight'] = t['conv2.weight'].astype(np.float64)", &["'conv2.weight'", "F64", "F32"]),
        ("t['conv2.norm.running_var'][5] = -1", &["'conv2'", "variance[5]: -1"]),
        ("t['prediction.bias'][39] = np.nan", &["'prediction'", "bias[39]: NaN"]),
    ] {
        let (from, to) = (good.display(), path.display());
        let script = format!(
            "import numpy as np\nfrom safetensors.numpy import load_file, save_file\n\
             t = load_file('{from}')\n{change}\nsave_file(t, '{to}')\n"
        );
        python::python(&script, folder.path());
        let error = load(&path, &network).expect_err(change).to_string();
        assert!(error.contains("bad.safetensors") && words.iter().all(|word| error.contains(word)), "{change}: {error}");
    }
    let bytes = fs::read(&good).unwrap();
    fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    assert!(load(&path, &network).unwrap_err().to_string().contains("not a safetensors file"));
}

#[test]
fn a_run_starts_from_the_recipe_s_weights() {
    let folder = tempfile::tempdir().unwrap();
    written(folder.path());
    // A rate at which nothing moves: what the run ends with is what it began with.
    let lines = "weights: net.weights
stages: [{name: full, epochs: 1, binary: none, learning_rate: {peak: 1.0e-30, end: 1.0e-30}}]";
    let recipe = support::loaded(folder.path(), "darknet-yolo-64", lines);
    let run = folder.path().join("run");
    train(&recipe, &run, false).unwrap();
    let network = recipe.build_network().unwrap();
    let (trained, _) = Checkpoint::student(&run, Student::new(&network, Binarization::default(), &Device::flex())).unwrap();
    let (whole, _) = load(&folder.path().join("net.weights"), &network).unwrap();
    for (trained, whole) in trained.filters.iter().zip(&whole.filters) {
        assert_eq!(trained.latent.val().into_data(), whole.latent.val().into_data());
    }

    let bytes = fs::read(folder.path().join("net.weights")).unwrap();
    fs::write(folder.path().join("net.weights"), &bytes[..bytes.len() - 4]).unwrap();
    train(&recipe, &run, true).expect("only a beginning reads them");
    let other = folder.path().join("other");
    let error = train(&recipe, &other, false).unwrap_err();
    assert!(matches!(error, TrainError::Weights(_)) && !other.exists(), "{error}");
}
