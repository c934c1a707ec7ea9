//! Whole runs with a teacher.

use burn::{
    optim::AdamConfig,
    tensor::{Device, Tensor, TensorData},
};
use onebit_detector::{
    model_file::{FullWeights, LayerWeights, Model},
    network::{InputSize, NetworkSpec, Topology},
    onnx::{self, Outputs},
};
use onebit_distill::{
    data::Batch,
    packing::{Options, PackError, pack},
    recipe::{Provider, Recipe, TeacherConfig, TeacherInput},
    student::Student,
    teacher::Teacher,
    training::{Checkpoint, Learner, Progress, TeacherFile, TrainError, train},
    transfer::{Transfer, TransferError},
};
use std::{collections::BTreeMap, fs, path::Path, process::Command};
use teaching::{SIZE, convolutional_teacher, recipe, teacher, write};

#[path = "support/bits.rs"]
mod bits;
#[path = "support/killing.rs"]
mod killing;
mod support;
#[path = "support/teaching.rs"]
mod teaching;

/// Two stages; the first has no output transfer, the second nothing else but it.
const STAGES: &str = "
seed: 5
shards: 2
data: {train: [{path: set, repeat: 4}], classes: {Car: car}}
teacher: {file: teacher.onnx}
transfer:
  - {teacher: conv16, student: conv12, loss: pkd, weight: {full: 3}}
  - {teacher: conv10, student: conv24, loss: l2, weight: {full: [0.2, 0]}}
  - {teacher: prediction, student: prediction, loss: output, weight: {binary: [0, 1]}}
stages:
  - {name: full, epochs: 2, binary: none, learning_rate: {peak: 1.0e-3, end: 1.0e-3, warmup: 1}}
  - {name: binary, epochs: 1, learning_rate: {peak: 1.0e-3, end: 0}}
";

/// The columns of a run's metrics.
fn columns(file: &Path) -> BTreeMap<String, Vec<f32>> {
    let text = fs::read_to_string(file).unwrap();
    let mut lines = text.lines().map(|line| line.split(',').collect::<Vec<_>>());
    let names = lines.next().unwrap();
    let rows: Vec<_> = lines.collect();
    let column = |index: usize| rows.iter().filter_map(|row: &Vec<&str>| row[index].parse().ok()).collect();
    names.iter().enumerate().map(|(index, name)| ((*name).to_owned(), column(index))).collect()
}

fn mean(values: &[f32]) -> f32 {
    values.iter().sum::<f32>() / values.len() as f32
}

#[test]
fn every_loss_brings_the_student_nearer_to_its_teacher() {
    let folder = tempfile::tempdir().unwrap();
    // The labels teach nothing: what falls, falls by the teacher.
    let recipe = recipe(
        folder.path(),
        "
augmentation: {scale: [2, 2], jitter: 0, flip: 0, hue: 0, saturation: 1, exposure: 1, focus: 1}
loss: {object_scale: 0, no_object_scale: 0, coord_scale: 0, class_scale: 0, warmup_samples: 0}
teacher: {file: teacher.onnx}
transfer:
  - {teacher: conv8, student: conv8, loss: l2, weight: 1}
  - {teacher: conv16, student: conv10, loss: attention, weight: 1}
  - {teacher: conv12, student: conv12, loss: cwd, weight: 1, temperature: 2}
  - {teacher: conv16, student: conv16, loss: pkd, weight: 1}
  - {teacher: conv10, student: conv16, loss: fgd, weight: 1}
  - {teacher: prediction, student: prediction, loss: output, weight: 1}
stages: [{name: binary, epochs: 40, learning_rate: {peak: 5.0e-3, end: 1.0e-4}}]",
    );
    let run = folder.path().join("run");
    train(&recipe, &run, false).unwrap();
    let columns = columns(&run.join("epochs.csv"));
    for name in ["l2_conv8", "attention_conv10", "cwd_conv12", "pkd_conv16", "fgd_conv16", "output_prediction"] {
        let losses = &columns[name];
        let (first, last) = (mean(&losses[..4]), mean(&losses[36..]));
        assert!(last < 0.8 * first, "{name}: from {first} to {last}");
    }
}

#[test]
fn terms_follow_their_stages_and_the_start_is_that_of_a_student_alone() {
    let folder = tempfile::tempdir().unwrap();
    let mut recipe = recipe(folder.path(), STAGES);
    let [taught, alone] = ["taught", "alone"].map(|name| folder.path().join(name));
    train(&recipe, &taught, false).unwrap();
    let steps = columns(&taught.join("steps.csv"));
    let zero = |values: &[f32]| values.iter().all(|value| *value == 0.0);
    let (pkd, l2, output) = (&steps["pkd_conv12"], &steps["l2_conv24"], &steps["output_prediction"]);
    assert_eq!(pkd.len(), 24, "eight steps an epoch");
    assert!(pkd[..16].iter().all(|value| *value > 0.0) && zero(&pkd[16..]));
    assert!(l2[..16].iter().all(|value| *value > 0.0) && zero(&l2[16..]));
    assert!(zero(&output[..17]), "its weight starts at 0");
    assert!(output[17..].iter().all(|value| *value > 0.0));

    (recipe.teacher, recipe.transfer) = (None, Vec::new());
    recipe.stages.truncate(1);
    train(&recipe, &alone, false).unwrap();
    let alone = columns(&alone.join("steps.csv"));
    assert!(!alone.contains_key("pkd_conv12"));
    for name in ["coords", "object", "no_object", "class"] {
        assert_eq!(alone[name][0].to_bits(), steps[name][0].to_bits(), "{name} of the first step");
    }
}

/// A teacher for pictures of 64x64 becomes one for any size: its convolutions and pools take any, and in ONNX's protobuf the
/// dimension `08 40` (64) and the unnamed one `12 00` are of the same length.
fn take_any_size(file: &Path) {
    let mut bytes = fs::read(file).unwrap();
    let (fixed, free) = ([0x0a, 2, 0x08, 64, 0x0a, 2, 0x08, 64], [0x0a, 2, 0x12, 0, 0x0a, 2, 0x12, 0]);
    let at: Vec<_> = (0..bytes.len() - fixed.len()).filter(|at| bytes[*at..].starts_with(&fixed)).collect();
    let [at] = at[..] else { panic!("the input is declared once, not {} times", at.len()) };
    bytes[at..][..free.len()].copy_from_slice(&free);
    fs::write(file, bytes).unwrap();
}

#[test]
fn a_teacher_of_any_size_teaches_in_windows_of_several_sizes() {
    let folder = tempfile::tempdir().unwrap();
    let lines = "
windows: [64x64, 96x64, 64x128]
data: {train: [{path: set, repeat: 12}], classes: {Car: car}}
teacher: {file: teacher.onnx}
transfer:
  - {teacher: conv8, student: conv8, loss: pkd, weight: 1}
  - {teacher: conv10, student: conv16, loss: attention, weight: 1}
  - {teacher: conv16, student: conv10, loss: l2, weight: 1}
stages: [{name: binary, epochs: 1, learning_rate: {peak: 1.0e-3, end: 0}}]";
    let recipe = recipe(folder.path(), lines);
    let run = folder.path().join("run");
    assert!(failed(&recipe, &run).contains("reads pictures of 64x64, not of 96x64"));
    assert!(!run.exists(), "refused before the run begins, though the first window fits");

    write(folder.path(), &convolutional_teacher());
    take_any_size(&folder.path().join("teacher.onnx"));
    train(&recipe, &run, false).unwrap();
    let steps = columns(&run.join("steps.csv"));
    for name in ["pkd_conv8", "attention_conv16", "l2_conv10"] {
        assert_eq!(steps[name].len(), 24);
        assert!(steps[name].iter().all(|value| *value > 0.0 && value.is_finite()), "{name}: {:?}", steps[name]);
    }

    // What it gives for another size is what a teacher made for that size gives.
    let wide = InputSize { width: 96, height: 64 };
    let other = folder.path().join("wide.onnx");
    fs::write(&other, onnx::export(&teacher(wide), Outputs::Last).unwrap()).unwrap();
    let values = (0..wide.shape().values()).map(|at| (at % 251) as f32 / 250.0).collect();
    let batch = Batch { size: wide, values, labels: vec![Vec::new()], unlabelled: vec![Vec::new()] };
    let config = recipe.teacher.clone().unwrap();
    let [free, fixed] = [config.file.clone(), other].map(|file| {
        let config = TeacherConfig { file, ..config.clone() };
        Teacher::load(&config, vec!["conv10".into()]).unwrap().features(&batch).unwrap().remove(0)
    });
    assert_eq!((free.shape, free.shape[2..].to_vec()), (fixed.shape, vec![8, 12]));
    let largest = fixed.values.iter().fold(0f32, |m, v| m.max(v.abs()));
    assert!(free.values.iter().zip(&fixed.values).all(|(a, b)| (a - b).abs() <= 1e-5 * largest));
}

#[test]
fn a_run_with_adapters_killed_at_any_moment_ends_with_the_same_bits() {
    let folder = tempfile::tempdir().unwrap();
    let recipe = recipe(folder.path(), STAGES);
    let [whole, killed] = ["whole", "killed"].map(|name| folder.path().join(name));
    train(&recipe, &whole, false).unwrap();
    killing::train_killed_after(&[3, 11, 18], &folder.path().join("recipe.yaml"), &killed);

    let state = |run: &Path| -> (Vec<u32>, Vec<u32>, Progress) {
        let network = recipe.build_network().unwrap();
        let adapters = Transfer::open(&recipe, &network).unwrap().unwrap().adapters(&Device::flex());
        let learner = Learner { student: Student::new(&network, recipe.binarization, &Device::flex()), adapters };
        let Checkpoint { learner, progress, .. } = Checkpoint::load(run, learner, AdamConfig::new().init()).unwrap();
        (bits::bits(&learner.student), bits::bits(&learner.adapters), progress)
    };
    let (expected, found) = (state(&whole), state(&killed));
    assert_eq!(expected.1.len(), (64 + 1) * 128 + (128 + 1) * 64, "a convolution and its bias for each of two taps");
    assert_eq!(found, expected);
    killing::assert_same_metrics(&killed, &whole);
}

#[test]
fn adapters_and_teacher_are_left_behind_when_packing() {
    let folder = tempfile::tempdir().unwrap();
    let recipe = recipe(folder.path(), STAGES);
    let run = folder.path().join("run");
    train(&recipe, &run, false).unwrap();
    fs::remove_file(folder.path().join("teacher.onnx")).unwrap();
    let kept = Recipe::load(&run.join("recipe.yaml")).unwrap();
    assert_eq!(kept, recipe);
    let model = pack(&run, &kept, Options { frames: 4, batch_norm: 0 }).unwrap();
    assert_eq!(model.network, recipe.build_network().unwrap());
    let sha256 = TeacherFile::of(&run).unwrap().unwrap().sha256;
    assert_eq!(model.provenance.teacher, format!("teacher.onnx, SHA-256 {sha256}"));
}

#[test]
fn an_unlabelled_set_teaches_by_its_features_alone() {
    let folder = tempfile::tempdir().unwrap();
    // The files of labels that the set has are not looked at.
    let lines = "
data: {train: [{path: set, unlabelled: true, repeat: 4}], classes: {Car: car}, oversample: {car: 3}}
augmentation: {focus: 1, mosaic: 0.5}
teacher: {file: teacher.onnx}
transfer: [{teacher: conv16, student: conv16, loss: pkd, weight: 1}]
stages:
  - {name: first, epochs: 1, learning_rate: {peak: 1.0e-3, end: 1.0e-3}}
  - {name: second, epochs: 1, learning_rate: {peak: 1.0e-3, end: 1.0e-3}}";
    let mut recipe = recipe(folder.path(), lines);
    let run = folder.path().join("run");
    let network = recipe.build_network().unwrap();
    let stages = recipe.stages.clone();
    let mut weights_after = |count: usize| {
        recipe.stages = stages[..count].to_vec();
        train(&recipe, &run, count > 1).unwrap();
        let fresh = Student::new(&network, recipe.binarization, &Device::flex());
        let (student, _) = Checkpoint::student(&run, fresh).unwrap();
        student.filters.iter().map(bits::bits).collect::<Vec<_>>()
    };
    let (earlier, later) = (weights_after(1), weights_after(2));
    let last = earlier.len() - 1;
    assert_eq!(earlier[last], later[last], "the prediction has no gradient");
    assert_ne!(earlier[0], later[0]);

    let steps = columns(&run.join("steps.csv"));
    for name in ["coords", "object", "no_object", "class"] {
        assert_eq!(steps[name], vec![0.0; 16], "{name}");
    }
    assert!(steps["pkd_conv16"].iter().all(|value| *value > 0.0));

    // Without a teacher there is nothing to learn from it; in full precision it is left out.
    let alone = Recipe { teacher: None, transfer: Vec::new(), ..recipe.clone() };
    let error = alone.check().unwrap_err().to_string();
    assert!(error.starts_with("data.train[0].unlabelled: needs the key 'transfer'"), "{error}");
    assert!(recipe.in_full_precision().data.train.is_empty());
}

#[test]
fn a_stage_without_taps_leaves_unlabelled_frames_out() {
    let folder = tempfile::tempdir().unwrap();
    let lines = "
data: {train: [{path: set, repeat: 2}, {path: set, unlabelled: true, repeat: 4}], classes: {Car: car}}
teacher: {file: teacher.onnx}
transfer: [{teacher: conv16, student: conv16, loss: pkd, weight: {taught: 1}}]
stages:
  - {name: taught, epochs: 1, learning_rate: {peak: 1.0e-3, end: 1.0e-3}}
  - {name: alone, epochs: 2, learning_rate: {peak: 1.0e-3, end: 1.0e-3}}";
    let mut recipe = recipe(folder.path(), lines);
    let run = folder.path().join("run");
    train(&recipe, &run, false).unwrap();
    let terms = &columns(&run.join("steps.csv"))["pkd_conv16"];
    // Four frames in batches of two.
    assert_eq!(terms.len(), (4 * 2 + 4 * 4) / 2 + 2 * 4 * 2 / 2);
    assert!(terms[..12].iter().all(|term| *term > 0.0) && terms[12..].iter().all(|term| *term == 0.0), "{terms:?}");

    recipe.data.train.remove(0);
    let error = train(&recipe, &folder.path().join("other"), false).unwrap_err().to_string();
    assert!(error.contains("'alone'") && error.contains("0 frames") && error.contains("labelled"), "{error}");
}

#[test]
fn a_run_goes_on_with_its_own_teacher_alone() {
    let folder = tempfile::tempdir().unwrap();
    let mut recipe = recipe(folder.path(), &one_tap("{teacher: conv10, student: conv10, loss: pkd, weight: 1}"));
    let run = folder.path().join("run");
    recipe.stages[0].epochs = 1;
    train(&recipe, &run, false).unwrap();
    let check =
        || Command::new("sha256sum").arg("--check").arg(run.join("teacher.sha256")).output().unwrap().status.success();
    assert!(check(), "what is kept is the file's SHA-256, as coreutils computes it");
    let kept = TeacherFile::of(&run).unwrap().unwrap();

    // Another teacher under the same name.
    let [own, moved] = ["teacher.onnx", "moved.onnx"].map(|name| folder.path().join(name));
    fs::rename(&own, &moved).unwrap();
    let network = NetworkSpec { width: 0.25, input: SIZE, ..NetworkSpec::preset(Topology::DarknetYolo64) }.build().unwrap();
    write(folder.path(), &Model::random(network, 10));
    assert!(!check());
    let before = fs::read(run.join("recipe.yaml")).unwrap();
    recipe.stages[0].epochs = 2;
    let error = train(&recipe, &run, true).unwrap_err();
    let TrainError::OtherTeacher { kept: wanted, found } = &error else { panic!("{error}") };
    assert_eq!(*wanted, kept);
    assert_eq!(found.path, own);
    let message = error.to_string();
    assert!(message.contains(&kept.sha256) && message.contains(&found.sha256) && kept.sha256 != found.sha256, "{message}");
    assert_eq!(fs::read(run.join("recipe.yaml")).unwrap(), before, "nothing of the run was changed");

    // Its own one, wherever it lies.
    recipe.set_teacher(&moved);
    train(&recipe, &run, true).unwrap();
    assert_eq!(TeacherFile::of(&run).unwrap().unwrap(), kept);

    fs::write(run.join("teacher.sha256"), "abc  teacher.onnx").unwrap();
    let error = train(&recipe, &run, true).unwrap_err().to_string();
    assert!(error.contains("teacher.sha256"), "{error}");
}

/// One tap of the whole network.
fn one_tap(tap: &str) -> String {
    format!(
        "data: {{train: [{{path: set, repeat: 4}}], classes: {{Car: car}}}}
teacher: {{file: teacher.onnx}}
transfer: [{tap}]
stages: [{{name: binary, epochs: 2, learning_rate: {{peak: 1.0e-3, end: 0}}}}]"
    )
}

fn failed(recipe: &Recipe, run: &Path) -> String {
    let error = train(recipe, run, false).unwrap_err();
    assert!(matches!(error, TrainError::Transfer(_)), "{error}");
    error.to_string()
}

#[test]
fn a_tap_or_term_that_teaches_nothing_stops_the_run_by_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let run = |name: &str| folder.path().join(name);
    let pkd = one_tap("{teacher: conv10, student: conv10, loss: pkd, weight: 1}");

    let mut wild = recipe(folder.path(), &pkd);
    wild.teacher.as_mut().unwrap().input.range = f32::MAX;
    let message = failed(&wild, &run("wild"));
    assert!(message.contains("'conv10' holds values that are no numbers"), "{message}");

    let mut dead = teacher(SIZE);
    dead.network = dead.network.in_full_precision();
    for (layer, weights) in dead.network.layers().iter().zip(&mut dead.weights) {
        if let LayerWeights::Binary(binary) = weights {
            let (filters, inputs) = (binary.scale.len(), binary.inputs);
            let value = if layer.name == "conv10" { 0.0 } else { 0.1 };
            *weights = LayerWeights::Full(FullWeights {
                weights: vec![value; filters * inputs],
                inputs,
                bias: vec![value; filters],
            });
        }
    }
    let good = recipe(folder.path(), &pkd);
    write(folder.path(), &dead);
    let message = failed(&good, &run("dead"));
    assert!(message.contains("'conv10' is zero everywhere"), "{message}");

    // Where a map is a single position, its softmax is 1 whatever it holds.
    let mut single = recipe(folder.path(), &one_tap("{teacher: conv24, student: conv24, loss: cwd, weight: 1}"));
    let small = InputSize { width: 32, height: 32 };
    write(folder.path(), &teacher(small));
    single.window = Some(small);
    let message = failed(&single, &run("single"));
    assert!(message.contains("'cwd_conv24' was exactly zero for 8 steps"), "{message}");
}

#[test]
fn a_teacher_that_does_not_fit_is_refused_before_the_run_begins() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let fails = |tap: &str, words: &[&str]| {
        let message = failed(&recipe(folder.path(), &one_tap(tap)), &run);
        assert!(words.iter().all(|word| message.contains(word)), "{message}");
        assert!(!run.exists());
    };
    fails("{teacher: conv11, student: conv10, loss: pkd, weight: 1}", &["teacher.onnx", "'conv11'"]);
    fails("{teacher: conv29, student: prediction, loss: output, weight: 1}", &["'output_prediction'", "40x2x2", "256x2x2"]);

    let recipe = recipe(folder.path(), &one_tap("{teacher: conv10, student: conv10, loss: pkd, weight: 1}"));
    write(folder.path(), &teacher(InputSize { width: 96, height: 64 }));
    assert!(failed(&recipe, &run).contains("reads pictures of 96x64, not of 64x64"));
    fs::remove_file(folder.path().join("teacher.onnx")).unwrap();
    assert!(failed(&recipe, &run).contains("teacher.onnx"));
    assert!(matches!(train(&recipe, &run, false).unwrap_err(), TrainError::Transfer(TransferError::Teacher(_))));
}

#[test]
fn a_trained_teacher_is_exported_with_its_taps() {
    let folder = tempfile::tempdir().unwrap();
    let stages = "stages: [{name: binary, epochs: 2, learning_rate: {peak: 1.0e-3, end: 0}}]";
    let path = support::recipe(folder.path(), "darknet-yolo-64", stages);
    let [run, file] = ["teacher", "exported.onnx"].map(|name| folder.path().join(name));
    let distill = |arguments: &[&str], paths: [&Path; 2]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_distill"));
        command.arg("teacher").arg(arguments[0]).arg(paths[0]).arg("-o").arg(paths[1]).args(&arguments[1..]);
        let output = command.output().expect("the program is built with its tests");
        (output.status.success(), String::from_utf8(output.stderr).unwrap())
    };
    let (trained, message) = distill(&["train"], [&path, &run]);
    assert!(trained, "{message}");
    let (exported, message) = distill(&["export", "--tap", "conv10", "--tap", "conv16"], [&run, &file]);
    assert!(exported, "{message}");
    let (unknown, message) = distill(&["export", "--tap", "conv11"], [&run, &file]);
    assert!(!unknown && message.contains("conv11"), "{message}");

    // What ONNX Runtime gives is what the graph gives in evaluation.
    let recipe = Recipe::load(&run.join("recipe.yaml")).unwrap();
    let network = recipe.build_network().unwrap();
    let (student, _) = Checkpoint::student(&run, Student::new(&network, recipe.binarization, &Device::flex())).unwrap();
    let values: Vec<f32> = (0..SIZE.shape().values()).map(|at| (at % 251) as f32 / 250.0).collect();
    let image = Tensor::from_data(TensorData::new(values.clone(), [1, 3, SIZE.height, SIZE.width]), &Device::flex());
    let graph = student.forward_all(image);
    let config = TeacherConfig {
        file: file.clone(),
        input: TeacherInput::default(),
        provider: Provider::Cpu,
        threads: 1,
        cache: None,
    };
    let taps = ["conv10", "conv16", "prediction"];
    let mut teacher = Teacher::load(&config, taps.map(str::to_owned).to_vec()).unwrap();
    let picture = Batch { size: SIZE, values, labels: vec![Vec::new()], unlabelled: vec![Vec::new()] };
    let maps = teacher.features(&picture).unwrap();
    for (name, map) in taps.iter().zip(maps) {
        let layer = network.layers().iter().position(|layer| layer.name == *name).unwrap();
        let expected: Vec<f32> = graph[layer].clone().into_data().try_to_vec().unwrap();
        let largest = expected.iter().fold(0f32, |m, v| m.max(v.abs()));
        for (found, expected) in map.values.iter().zip(&expected) {
            assert!((found - expected).abs() <= 1e-4 * largest, "{name}: {found}, the graph says {expected}");
        }
    }
    assert!(matches!(pack(&run, &recipe, Options { frames: 4, batch_norm: 0 }).unwrap_err(), PackError::NotBinary { .. }));

    let binary = folder.path().join("binary");
    train(&Recipe::load(&path).unwrap(), &binary, false).unwrap();
    let (exported, message) = distill(&["export"], [&binary, &file]);
    assert!(!exported && message.contains("stage 'binary' trains binary layers"), "{message}");
}
