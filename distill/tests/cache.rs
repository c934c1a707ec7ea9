//! Runs of the program whose teacher keeps its features on disk.

use image::imageops::FilterType;
use onebit_detector::model_file::Model;
use onebit_distill::{
    packing::{Options, pack},
    recipe::Recipe,
};
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};
use tempfile::TempDir;

#[path = "support/killing.rs"]
mod killing;
mod support;
#[path = "support/teaching.rs"]
mod teaching;

/// The recipe: 8 pictures in its first stage, 4 in its second, none of them twice. The teacher takes one at a time.
const LINES: &str = "
teacher: {file: teacher.onnx, cache: {folder: features}}
transfer:
  - {teacher: conv16, student: conv12, loss: pkd, weight: 3}
  - {teacher: conv10, student: conv24, loss: l2, weight: 0.2}
stages:
  - {name: full, epochs: 2, binary: none, learning_rate: {peak: 1.0e-3, end: 1.0e-3}}
  - {name: binary, epochs: 1, learning_rate: {peak: 1.0e-3, end: 0}}
";
const CACHE: &str = ", cache: {folder: features}";
/// Entries of such a run: one for each picture, and one for the grey picture by which the taps' shapes are read.
const ENTRIES: usize = 12 + 1;

/// The recipe, its set and its teacher.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    teaching::recipe(folder.path(), LINES);
    folder
}

/// The recipe with one thing changed, in a file of this name.
fn variant(folder: &Path, name: &str, from: &str, to: &str) -> PathBuf {
    let text = fs::read_to_string(folder.join("recipe.yaml")).unwrap();
    assert!(text.contains(from), "{from}");
    let path = folder.join(name).with_extension("yaml");
    fs::write(&path, text.replacen(from, to, 1)).unwrap();
    path
}

fn distill(arguments: &[&str], paths: &[&Path]) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_distill"));
    command.args(arguments).args(paths).env("RUST_LOG", "info").stderr(Stdio::piped());
    command.spawn().expect("the program is built with its tests")
}

/// What the program said, and whether it succeeded.
fn ended(child: Child) -> (bool, String) {
    let output = child.wait_with_output().unwrap();
    (output.status.success(), String::from_utf8(output.stderr).unwrap())
}

/// Trains a recipe and gives what was said.
fn train(recipe: &Path, run: &Path) -> String {
    let (success, said) = ended(distill(&["train", "-o"], &[run, recipe]));
    assert!(success, "{said}");
    said
}

/// Says how many of a stage's pictures had their features in the cache.
fn came(stage: &str, cached: usize, pictures: usize) -> String {
    format!("{stage}: the features of {cached} of {pictures} pictures came from the cache")
}

fn assert_all_came_from_the_cache(said: &str) {
    assert!(said.contains(&came("full", 8, 8)) && said.contains(&came("binary", 4, 4)), "{said}");
}

/// The entries of a folder by their names.
fn entries(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    files.map(|path| (path.clone(), fs::read(path).unwrap())).collect()
}

/// Two runs saw and learned the same: the metrics of every step, and every bit of the packed model.
fn assert_same(one: &Path, other: &Path) {
    killing::assert_same_metrics(one, other);
    let [one, other] = [one, other].map(|run| {
        let recipe = Recipe::load(&run.join("recipe.yaml")).unwrap();
        pack(run, &recipe, Options { frames: 4, batch_norm: 0 }).unwrap().to_bytes().unwrap()
    });
    assert!(one == other, "the packed models differ");
}

#[test]
fn with_a_cold_cache_a_warm_one_and_without_the_bits_are_the_same() {
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    let (recipe, features) = (at("recipe.yaml"), at("features"));
    let said = train(&variant(folder.path(), "none", CACHE, ""), &at("without"));
    assert!(!said.contains("cache") && !features.exists(), "{said}");

    let said = train(&recipe, &at("cold"));
    assert!(said.contains(&came("full", 0, 8)) && said.contains(&came("binary", 0, 4)), "{said}");
    assert_same(&at("cold"), &at("without"));
    let kept = entries(&features);
    assert_eq!(kept.len(), ENTRIES);

    assert_all_came_from_the_cache(&train(&recipe, &at("warm")));
    assert_same(&at("warm"), &at("without"));
    assert!(entries(&features) == kept, "nothing was written");

    // Another way of learning from the same pictures has the same features, another seed has none of them.
    let other = variant(folder.path(), "other", "loss: l2, weight: 0.2", "loss: attention, weight: [1, 0]");
    assert_all_came_from_the_cache(&train(&other, &at("other")));
    let seed = variant(folder.path(), "seed", "batch:", "seed: 9\nbatch:");
    assert!(train(&seed, &at("seed")).contains(&came("full", 0, 8)));
    assert_eq!(entries(&features).len(), 2 * ENTRIES - 1, "but the grey picture is the same");
}

#[test]
fn runs_that_share_a_cold_cache_at_the_same_time_do_not_disturb_each_other() {
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    let runs = ["one", "two"].map(|name| (at(name), distill(&["train", "-o"], &[&at(name), &at("recipe.yaml")])));
    let runs = runs.map(|(run, child)| {
        let (success, said) = ended(child);
        assert!(success && !said.contains("features anew") && !said.contains("no more is written"), "{said}");
        run
    });
    train(&variant(folder.path(), "none", CACHE, ""), &at("without"));
    runs.iter().for_each(|run| assert_same(run, &at("without")));
    assert_eq!(entries(&at("features")).len(), ENTRIES);
}

#[test]
fn a_run_killed_while_it_fills_its_cache_ends_with_the_same_bits() {
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    train(&variant(folder.path(), "none", CACHE, ""), &at("without"));
    killing::train_killed_after(&[1, 4], &at("recipe.yaml"), &at("killed"));
    assert_same(&at("killed"), &at("without"));
    // A run may go on with a cache that it did not begin with: that changes nothing of it.
    let (success, said) = ended(distill(&["train", "--resume", "-o"], &[&at("without"), &at("recipe.yaml")]));
    assert!(success && !said.contains("cannot be repeated"), "{said}");
}

#[test]
fn a_broken_entry_is_named_and_replaced() {
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    let (recipe, features) = (at("recipe.yaml"), at("features"));
    train(&recipe, &at("first"));
    let kept = entries(&features);
    let broken: Vec<_> = kept.keys().take(2).collect();
    fs::write(broken[0], &kept[broken[0]][..100]).unwrap();
    let mut bytes = kept[broken[1]].clone();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(broken[1], bytes).unwrap();

    let said = train(&recipe, &at("again"));
    for path in broken {
        let named = said.lines().filter(|line| line.contains("WARN") && line.contains(&*path.to_string_lossy()));
        assert_eq!(named.count(), 1, "{said}");
    }
    assert_same(&at("again"), &at("first"));
    assert!(entries(&features) == kept, "replaced by what was there");
}

#[test]
fn a_cache_does_not_outgrow_its_limit() {
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    train(&at("recipe.yaml"), &at("first"));
    let bytes = || entries(&at("features")).values().map(Vec::len).sum::<usize>();
    let limit = bytes() / 2;
    fs::remove_dir_all(at("features")).unwrap();

    let limited = format!("{{folder: features, gigabytes: {:e}}}", limit as f64 / 1e9);
    let said = train(&variant(folder.path(), "limited", "{folder: features}", &limited), &at("limited"));
    assert_eq!(said.matches("no more is written").count(), 1, "{said}");
    assert!(said.contains("features: is as large as 'teacher.cache.gigabytes' allows"), "{said}");
    assert_same(&at("limited"), &at("first"));
    assert!(bytes() <= limit && bytes() > limit * 3 / 4, "{} of {limit} bytes", bytes());
}

#[test]
fn teachers_that_share_a_folder_keep_their_features_apart() {
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    let recipe = at("recipe.yaml");
    train(&recipe, &at("first"));
    let file = at("teacher.onnx");
    fs::rename(&file, at("moved.onnx")).unwrap();

    // Another file under the same name; and another look at the pictures.
    teaching::write(folder.path(), &Model::random(teaching::teacher(teaching::SIZE).network, 10));
    let said = train(&recipe, &at("another"));
    assert!(said.contains(&came("full", 0, 8)), "{said}");
    let moved = variant(folder.path(), "moved", "teacher.onnx", "moved.onnx");
    assert_all_came_from_the_cache(&train(&moved, &at("moved")));
    killing::assert_same_metrics(&at("moved"), &at("first"));
    let colours = variant(folder.path(), "colours", "cache", "input: {order: bgr}, cache");
    assert!(train(&colours, &at("colours")).contains(&came("full", 0, 8)));
}

/// A graph for one picture becomes one for any number: in ONNX's protobuf the dimension `08 01` (1) and the unnamed one
/// `12 00` are of the same length.
fn take_any_number(file: &Path) {
    let mut bytes = fs::read(file).unwrap();
    let (one, any) = ([0x0a, 2, 0x08, 1, 0x0a, 2, 0x08, 3], [0x0a, 2, 0x12, 0, 0x0a, 2, 0x08, 3]);
    let at: Vec<_> = (0..bytes.len() - one.len()).filter(|at| bytes[*at..].starts_with(&one)).collect();
    let [at] = at[..] else { panic!("the input is declared once, not {} times", at.len()) };
    bytes[at..][..any.len()].copy_from_slice(&any);
    fs::write(file, bytes).unwrap();
}

#[test]
fn a_teacher_of_batches_keeps_batches() {
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    teaching::write(folder.path(), &teaching::convolutional_teacher());
    take_any_number(&at("teacher.onnx"));
    train(&at("recipe.yaml"), &at("cold"));
    assert_eq!(entries(&at("features")).len(), 6 + 1);
    assert_all_came_from_the_cache(&train(&at("recipe.yaml"), &at("warm")));
    assert_same(&at("warm"), &at("cold"));
}

#[test]
fn features_can_be_computed_ahead() {
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    let fill = |recipe: &Path| ended(distill(&["teacher", "cache"], &[recipe]));
    let (success, said) = fill(&at("recipe.yaml"));
    assert!(success && said.contains("features of 0 of 12 pictures were in the cache already"), "{said}");
    let (success, said) = fill(&at("recipe.yaml"));
    assert!(success && said.contains("features of 12 of 12 pictures were in the cache already"), "{said}");
    assert_all_came_from_the_cache(&train(&at("recipe.yaml"), &at("run")));

    let (success, said) = fill(&variant(folder.path(), "none", CACHE, ""));
    assert!(!success && said.contains("teacher.cache: is missing"), "{said}");

    // A stage without taps needs no features.
    variant(folder.path(), "recipe", "weight: 3", "weight: {binary: 3}");
    let late = variant(folder.path(), "recipe", "weight: 0.2", "weight: {binary: 1}");
    let (success, said) = fill(&late);
    assert!(success && said.contains("features of 4 of 4 pictures were in the cache already"), "{said}");
    let said = train(&late, &at("late"));
    assert!(said.contains(&came("binary", 4, 4)) && !said.contains("full: the features"), "{said}");
}

#[test]
fn without_augmentation_every_epoch_finds_the_frames_of_the_first() {
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    for index in 0..4 {
        let path = at(&format!("set/image_2/{index}.jpg"));
        image::open(&path).unwrap().resize_exact(64, 64, FilterType::Triangle).save(&path).unwrap();
    }
    variant(folder.path(), "recipe", "input: 160x96", "input: 64x64"); // a frame fills it
    let plain = "augmentation: {scale: [1, 1], jitter: 0, flip: 0, hue: 0, saturation: 1, exposure: 1, focus: 0}\nbatch:";
    let said = train(&variant(folder.path(), "recipe", "batch:", plain), &at("run"));
    assert!(said.contains(&came("full", 4, 8)) && said.contains(&came("binary", 4, 4)), "four frames: {said}");
    train(&variant(folder.path(), "none", CACHE, ""), &at("without"));
    assert_same(&at("run"), &at("without"));
}
