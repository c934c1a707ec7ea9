//! The model file: sizes, round trips, what Python reads in it, and what is said about a bad one.

#[path = "support/container.rs"]
mod container;
#[path = "support/models.rs"]
mod models;
#[path = "support/python.rs"]
mod python;

use container::{Part, Parts};
use models::{calibrated, network, tiny};
use onebit_detector::{
    model_file::{LayerWeights, MAX_FILE_BYTES, Model, ModelError, Quantization, TensorError},
    network::{Network, Topology},
};
use proptest::prelude::*;
use safetensors::Dtype;
use std::{fs, path::Path, sync::Arc};

#[test]
fn full_networks_fit_their_sizes() {
    let bytes = |topology| {
        let model = calibrated(Model::random(network(topology, 1.0, "1248x384"), 1));
        model.to_bytes().unwrap().len()
    };
    let (darknet, mobilenet) = (bytes(Topology::DarknetYolo), bytes(Topology::MobilenetYolo));
    assert!(darknet <= 8_650_000, "{darknet} bytes");
    assert!(mobilenet <= 6_950_000, "{mobilenet} bytes");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_file_gives_back_its_model(
        topology in prop::sample::select(Topology::ALL.to_vec()),
        width in 0.05..0.3,
        input in prop::sample::select(vec!["32x32", "416x128", "96x64"]),
        seed: u64,
        ranges: bool,
        metric in prop::num::f64::NORMAL | prop::num::f64::ZERO | prop::num::f64::SUBNORMAL,
        text in ".*",
    ) {
        let mut model = Model::random(network(topology, width, input), seed);
        if ranges {
            model = calibrated(model);
        }
        model.preprocessing.fill = seed as u8;
        model.provenance.metrics.insert(text.clone(), metric);
        model.provenance.dataset = text;
        let bytes = model.to_bytes().unwrap();
        let read = Model::from_bytes(bytes.clone()).unwrap();
        prop_assert_eq!(&read, &model);
        prop_assert_eq!(read.to_bytes().unwrap(), bytes);
    }
}

#[test]
fn saving_replaces_a_file_whole_or_not_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tiny.safetensors");
    let [old, new] = [1, 2].map(|seed| Model::random(tiny(), seed));
    old.save(&path).unwrap();
    new.save(&path).unwrap();
    assert_eq!(Model::load(&path).unwrap(), new);

    let mut bad = new.clone();
    bad.weights.pop();
    let error = bad.save(&path).unwrap_err().to_string();
    assert_eq!(error, format!("{}: metadata 'network': 8 layers, weights of 7", path.display()));
    assert_eq!(Model::load(&path).unwrap(), new);
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 1, "a temporary file is left");
}

#[test]
fn a_path_that_is_no_file_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("missing");
    let check = |path: &Path, words: &str| {
        let error = Model::load(path).unwrap_err().to_string();
        assert!(error.starts_with(&format!("{}: {words}", path.display())), "{error}");
    };
    check(&missing, "No such file or directory");
    check(folder.path(), "not a regular file");
    let empty = folder.path().join("empty");
    fs::write(&empty, b"").unwrap();
    check(&empty, "truncated: 0 bytes, must be 8");
    let large = folder.path().join("large");
    fs::File::create(&large).unwrap().set_len(MAX_FILE_BYTES + 1).unwrap();
    check(&large, "2147483649 bytes, at most 2147483648 are possible");
    let error = Model::random(tiny(), 1).save(missing.join("model")).unwrap_err().to_string();
    assert!(error.starts_with(&format!("{}: No such file", missing.join("model").display())), "{error}");
}

#[test]
fn random_models_are_the_same_on_every_machine() {
    // Recorded once; another value means that files made from a seed are no longer those of earlier versions.
    let model = Model::random(network(Topology::DarknetYolo64, 0.25, "416x416"), 7);
    let weights = |name: &str| {
        let index = model.network.layers().iter().position(|l| l.name == name).unwrap();
        match &model.weights[index] {
            LayerWeights::Binary(binary) => (binary.bits[..4].to_vec(), binary.scale[0].to_bits()),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(weights("conv2"), (vec![45, 254, 7, 246], 1_041_468_212));
}

#[test]
fn the_hash_is_the_one_in_the_file() {
    let model = Model::random(tiny(), 3);
    let mut parts = Parts::of(&model.to_bytes().unwrap());
    let stated = parts.metadata["sha256"].clone();
    assert_eq!(model.hash().unwrap(), stated);
    parts.seal();
    assert_eq!(parts.metadata["sha256"], stated, "the documented checksum is another one");
}

#[test]
fn a_file_written_by_another_program_is_read() {
    // The crate `safetensors` puts the metadata in any order.
    let model = calibrated(Model::random(tiny(), 3));
    let parts = Parts::of(&model.to_bytes().unwrap());
    assert_eq!(Model::from_bytes(parts.file()).unwrap(), model);
}

#[test]
fn the_example_of_the_documentation_reads_a_file_in_python() {
    let document = include_str!("../docs/model-format.md");
    let example = document.split("```python\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let model = Model::random(network(Topology::DarknetYolo, 0.125, "416x416"), 5);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    model.save(&path).unwrap();

    let report = "\nprint(json.dumps([digest.hexdigest(), weights.shape, weights.ravel().tolist()]))\n";
    let printed = python::python(&(example.to_owned() + report), &path);
    let (sum, shape, weights): (String, Vec<usize>, Vec<f32>) =
        serde_json::from_str(printed.lines().last().unwrap()).unwrap();
    assert_eq!(sum, model.hash().unwrap());
    let index = model.network.layers().iter().position(|l| l.name == "conv2").unwrap();
    let LayerWeights::Binary(binary) = &model.weights[index] else { panic!("conv2 is binary") };
    assert_eq!(shape, [8, 8 * 3 * 3]);
    for (filter, row) in weights.chunks(shape[1]).enumerate() {
        let scale = binary.scale[filter];
        for (input, weight) in row.iter().enumerate() {
            let expected = if binary.is_positive(filter, input) { scale } else { -scale };
            assert_eq!(*weight, expected, "weight {input} of filter {filter}");
        }
    }
}

impl Parts {
    fn tensor(&mut self, name: &str) -> &mut Part {
        self.tensors.get_mut(name).unwrap()
    }
}

/// The tiny model's file after a change, with a right checksum.
fn edited(change: impl FnOnce(&mut Parts)) -> Vec<u8> {
    let mut parts = Parts::of(&calibrated(Model::random(tiny(), 3)).to_bytes().unwrap());
    change(&mut parts);
    parts.seal();
    parts.file()
}

fn error(file: &[u8]) -> ModelError {
    Model::from_bytes(file.to_vec()).expect_err("the file is bad")
}

#[test]
fn a_bad_tensor_is_named_with_its_fault() {
    let check = |name: &str, expected: TensorError, change: &dyn Fn(&mut Parts)| match error(&edited(change)) {
        ModelError::Tensor { tensor, reason } => {
            assert_eq!(tensor, name);
            // NaN differs from itself, so errors are compared as they print.
            assert_eq!(format!("{reason:?}"), format!("{expected:?}"));
        }
        other => panic!("'{other}' does not name tensor {name}"),
    };
    for name in ["first.weight", "first.bias", "bits.bits", "bits.scale", "bits.bias"] {
        check(name, TensorError::Missing, &|p| drop(p.tensors.remove(name)));
    }
    for name in ["activations.scale", "activations.zero_point"] {
        check(name, TensorError::Missing, &|p| drop(p.tensors.remove(name)));
    }
    let byte = || Part { dtype: Dtype::U8, shape: vec![1], data: vec![0] };
    check("pool.bits", TensorError::Unexpected, &|p| drop(p.tensors.insert("pool.bits".into(), byte())));

    let dtype = |expected, found| TensorError::Dtype { expected, found };
    check("bits.bits", dtype(Dtype::U8, Dtype::I8), &|p| p.tensor("bits.bits").dtype = Dtype::I8);
    check("bits.scale", dtype(Dtype::F32, Dtype::U32), &|p| p.tensor("bits.scale").dtype = Dtype::U32);

    let shape =
        |expected: &[usize], found: &[usize]| TensorError::Shape { expected: expected.to_vec(), found: found.to_vec() };
    check("bits.bits", shape(&[2, 4], &[4, 2]), &|p| p.tensor("bits.bits").shape = vec![4, 2]);
    check("bits.scale", shape(&[2], &[1, 2]), &|p| p.tensor("bits.scale").shape = vec![1, 2]);
    check("depthwise.weight", shape(&[3, 1, 3, 3], &[27]), &|p| p.tensor("depthwise.weight").shape = vec![27]);
    check("prediction.bias", shape(&[6], &[5]), &|p| {
        let bias = p.tensor("prediction.bias");
        bias.shape = vec![5];
        bias.data.truncate(20);
    });
    check("activations.scale", shape(&[8], &[7]), &|p| {
        let scale = p.tensor("activations.scale");
        scale.shape = vec![7];
        scale.data.truncate(28);
    });
}

#[test]
fn a_bad_number_is_named_with_its_place() {
    let with = |name: &'static str, index: usize, value: f32| {
        move |p: &mut Parts| p.tensor(name).data[4 * index..][..4].copy_from_slice(&value.to_le_bytes())
    };
    let check = |name: &'static str, index: usize, value: f32, words: &str| {
        let error = error(&edited(with(name, index, value))).to_string();
        assert_eq!(error, format!("tensor '{name}': element {index} is {value}, must be {words}"));
    };
    for name in ["first.weight", "first.bias", "bits.scale", "bits.bias", "biased.scale", "activations.scale"] {
        for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            check(name, 1, value, "finite");
        }
    }
    check("prediction.weight", 59, f32::NAN, "finite");
    for value in [0.0, -0.0, 1e-40] {
        check("bits.scale", 0, value, "a normal number other than 0");
        check("biased.scale", 1, value, "a normal number above 0");
        check("activations.scale", 7, value, "a normal number above 0");
    }
    check("biased.scale", 0, -0.5, "a normal number above 0");
    check("activations.scale", 0, -0.5, "a normal number above 0");
    // A batch norm can make it negative.
    Model::from_bytes(edited(with("bits.scale", 0, -0.5))).unwrap();

    let pad = |p: &mut Parts| p.tensor("bits.bits").data[7] |= 1 << 3; // 27 weights take 3 bits of the 4th byte
    assert_eq!(error(&edited(pad)).to_string(), "tensor 'bits.bits': filter 1: the bits after its last weight must be 0");
}

#[test]
fn a_bad_description_is_named_with_its_fault() {
    let check = |key: &str, value: Option<&str>, words: &str| {
        let change = |p: &mut Parts| match value {
            Some(value) => drop(p.metadata.insert(key.into(), value.into())),
            None => drop(p.metadata.remove(key)),
        };
        let error = error(&edited(change)).to_string();
        assert!(error.contains(words), "'{error}' does not say '{words}'");
    };
    for key in ["format", "format_version", "network", "preprocessing", "provenance"] {
        check(key, None, &format!("metadata '{key}': missing"));
    }
    check("format", Some("pt"), "metadata 'format': 'pt', must be 'onebit_detector model'");
    check("format_version", Some("2"), "format version '2', this program reads '1'");
    check("note", Some("x"), "metadata 'note': the format has no such entry");
    check("preprocessing", Some(r#"{"fill":256}"#), "metadata 'preprocessing': invalid value: integer `256`");
    check("preprocessing", Some(r#"{"fill":1,"mean":0}"#), "metadata 'preprocessing': unknown field `mean`");
    check("provenance", Some(r#"{"metrics":{"AP":1e999}}"#), "metadata 'provenance': number out of range");
    check("network", Some("{"), "metadata 'network': EOF while parsing");

    let network = serde_json::to_string(&tiny()).unwrap();
    let replaced = |from: &str, to: &str| {
        assert!(network.contains(from), "{network}");
        network.replace(from, to)
    };
    check("network", Some(&replaced("11x7", "99999x7")), "metadata 'network': input: 99999x7 pixels");
    let many = replaced(r#""filters":2,"kernel":3"#, r#""filters":4611686018427387904,"kernel":3"#);
    check("network", Some(&many), "metadata 'network': layer 2 (bits): its output would be 4611686018427387904x");
    let few = replaced(r#""filters":2,"kernel":1"#, r#""filters":3,"kernel":1"#);
    check("network", Some(&few), "tensor 'biased.bits': shape [2, 1], the network needs [3, 1]");
    check("network", Some(&replaced("\"first\"", "\"image\"")), "tensor 'image.weight': missing");
}

#[test]
fn a_wrong_checksum_is_told_from_a_missing_one() {
    let mut parts = Parts::of(&Model::random(tiny(), 3).to_bytes().unwrap());
    parts.metadata.insert("sha256".into(), "0".repeat(64));
    assert!(matches!(error(&parts.file()), ModelError::Checksum { .. }));
    parts.metadata.remove("sha256");
    assert_eq!(error(&parts.file()).to_string(), "metadata 'sha256': missing");
    // The contents of one file with the checksum of another.
    let mut parts = Parts::of(&Model::random(tiny(), 3).to_bytes().unwrap());
    parts.tensor("first.bias").data[0] ^= 1;
    assert!(matches!(error(&parts.file()), ModelError::Checksum { .. }));
}

#[test]
fn what_was_made_of_a_model_with_a_wrong_checksum_is_dropped() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tiny.safetensors");
    let model = Model::random(tiny(), 3);
    model.save(&path).unwrap();
    let made = Arc::new(());
    let make = |read: Model| (read, made.clone());
    assert_eq!(Model::load_and(&path, make).unwrap().0, model);

    let mut parts = Parts::of(&model.to_bytes().unwrap());
    parts.tensor("first.bias").data[0] ^= 1;
    fs::write(&path, parts.file()).unwrap();
    let mut seen = None;
    let error = Model::load_and(&path, |read| {
        seen = Some(read.weights.len());
        make(read)
    });
    assert_eq!(seen, Some(model.weights.len()), "the model is right but for its checksum");
    assert!(error.err().unwrap().to_string().contains("tiny.safetensors: checksum: "));
    assert_eq!(Arc::strong_count(&made), 1);
}

#[test]
fn every_flipped_bit_is_found() {
    let mut file = calibrated(Model::random(tiny(), 3)).to_bytes().unwrap();
    for bit in 0..8 * file.len() {
        file[bit / 8] ^= 1 << (bit % 8);
        assert!(Model::from_bytes(file.clone()).is_err(), "bit {} of byte {} makes no difference", bit % 8, bit / 8);
        file[bit / 8] ^= 1 << (bit % 8);
    }
    Model::from_bytes(file).unwrap();
}

#[test]
fn every_truncated_file_is_found() {
    let file = calibrated(Model::random(tiny(), 3)).to_bytes().unwrap();
    for length in 0..file.len() {
        match error(&file[..length]) {
            ModelError::Truncated { found, .. } => assert_eq!(found, length as u64),
            other => panic!("the first {length} bytes: {other}"),
        }
    }
    let longer = [file.as_slice(), &[0]].concat();
    assert!(matches!(error(&longer), ModelError::TrailingBytes { .. }));
}

#[test]
fn a_model_in_memory_is_checked_as_well() {
    let good = calibrated(Model::random(tiny(), 3));
    let check = |change: &dyn Fn(&mut Model), words: &str| {
        let mut bad = good.clone();
        change(&mut bad);
        let errors = [bad.check().unwrap_err(), bad.to_bytes().unwrap_err(), bad.hash().unwrap_err()];
        for error in errors.map(|e| e.to_string()) {
            assert_eq!(error, words);
        }
    };
    check(&|m| m.weights.swap(0, 2), "layer 'first': must have full-precision weights");
    check(&|m| m.weights[2] = LayerWeights::None, "layer 'bits': must have binary weights");
    check(&|m| m.weights[4] = m.weights[0].clone(), "layer 'pool': must have no weights");
    check(&|m| m.weights.truncate(1), "metadata 'network': 8 layers, weights of 1");
    let binary = |m: &mut Model, change: &dyn Fn(&mut onebit_detector::model_file::BinaryWeights)| match &mut m.weights[2] {
        LayerWeights::Binary(binary) => change(binary),
        other => panic!("{other:?}"),
    };
    check(&|m| binary(m, &|b| b.inputs = 26), "layer 'bits': 26 inputs, must be 27");
    check(&|m| binary(m, &|b| b.bits.truncate(7)), "layer 'bits': 7 bytes of bits, must be 8");
    check(&|m| binary(m, &|b| b.scale.clear()), "layer 'bits': 0 scales, must be 2");
    check(&|m| binary(m, &|b| b.bias.push(0.0)), "layer 'bits': 3 biases, must be 2");
    check(
        &|m| m.quantization = Some(vec![Quantization { scale: 1.0, zero_point: 0 }]),
        "tensor 'activations.scale': shape [1], the network needs [8]",
    );
    check(
        &|m| m.provenance.metrics = [("AP".into(), f64::NAN)].into(),
        "metadata 'provenance': metric 'AP' is NaN, must be finite",
    );
    for name in ["image", "activations"] {
        let json = serde_json::to_string(&tiny()).unwrap().replace("\"first\"", &format!("\"{name}\""));
        let network: Network = serde_json::from_str(&json).unwrap();
        check(&|m| m.network = network.clone(), &format!("layer '{name}': this name is taken, choose another"));
    }
}
