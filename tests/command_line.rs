//! The program `onebit` as a user runs it.

use serde_json::Value;
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

fn onebit(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_onebit")).args(arguments).output().expect("the program was built")
}

/// Runs what must go well; returns its standard output.
fn succeed(arguments: &[&str]) -> String {
    let output = onebit(arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

/// Runs what must fail with this exit code; returns its standard error.
fn fail(code: i32, arguments: &[&str]) -> String {
    let output = onebit(arguments);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}");
    String::from_utf8(output.stderr).expect("text")
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path of plain characters")
}

fn frame() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("demo/frames/highway_000.jpg")
}

/// A small network with random weights.
fn small(folder: &Path) -> PathBuf {
    let path = folder.join("small.safetensors");
    succeed(&["new", "mobilenet-yolo", "-o", text(&path), "--seed", "7", "--width", "0.125", "--input", "160x96"]);
    path
}

#[test]
fn the_same_seed_gives_the_same_file_and_inspect_tells_what_is_in_it() {
    let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (a, b) = (small(a.path()), small(b.path()));
    assert_eq!(fs::read(&a).unwrap(), fs::read(&b).unwrap());
    let inspection: Value = serde_json::from_str(&succeed(&["inspect", text(&a), "--json"])).unwrap();
    assert_eq!(inspection["classes"], serde_json::json!(["car", "pedestrian", "cyclist"]));
    assert_eq!(inspection["input"], "160x96");
    assert_eq!(inspection["file_bytes"], fs::metadata(&a).unwrap().len());
    let sum = |key: &str| inspection["layers"].as_array().unwrap().iter().map(|l| l[key].as_u64().unwrap()).sum::<u64>();
    assert_eq!(inspection["parameters"], sum("parameters"));
    assert_eq!(inspection["operations"], sum("operations"));
}

#[test]
fn a_network_comes_from_a_yaml_file_too() {
    let folder = tempfile::tempdir().unwrap();
    let (yaml, model) = (folder.path().join("mine.yaml"), folder.path().join("mine.safetensors"));
    fs::write(&yaml, "topology: darknet-yolo-64\nwidth: 0.125\ninput: 64x64\nclasses: [tram]\n").unwrap();
    succeed(&["new", text(&yaml), "-o", text(&model)]);
    let inspection: Value = serde_json::from_str(&succeed(&["inspect", text(&model), "--json"])).unwrap();
    assert_eq!(inspection["classes"], serde_json::json!(["tram"]));
    fs::write(&yaml, "topology: darknet-yolo-64\nwitdh: 1\n").unwrap();
    assert!(fail(1, &["new", text(&yaml), "-o", text(&model)]).contains("unknown field `witdh`"));
}

#[test]
fn detections_come_as_text_json_and_kitti_files() {
    let folder = tempfile::tempdir().unwrap();
    let (model, frame, out) = (small(folder.path()), frame(), folder.path().join("out"));
    let run = |more: &[&str]| {
        let base = ["detect", text(&model), text(&frame), "--score", "0.05"];
        succeed(&[&base[..], more].concat())
    };
    let json: Value = serde_json::from_str(&run(&["--format", "json"])).unwrap();
    let found = json["detections"].as_array().unwrap();
    assert!(!found.is_empty() && json["width"] == 1280, "random weights find something at so low a score");
    assert_eq!(run(&[]).lines().count(), 1 + found.len());

    run(&["--format", "kitti", "--out", text(&out), "--annotate"]);
    let lines = fs::read_to_string(out.join("highway_000.txt")).unwrap();
    assert_eq!(lines.lines().count(), found.len());
    assert!(lines.lines().all(|line| line.split(' ').count() == 16), "{lines}");
    assert_eq!(image::open(out.join("highway_000.png")).unwrap().width(), 1280);
}

#[test]
fn results_keep_the_whole_name_of_a_picture() {
    let folder = tempfile::tempdir().unwrap();
    let (model, pictures, out) = (small(folder.path()), folder.path().join("pictures"), folder.path().join("out"));
    fs::create_dir(&pictures).unwrap();
    for name in ["1.25.jpg", "1.50.jpg"] {
        fs::copy(frame(), pictures.join(name)).unwrap();
    }
    succeed(&["detect", text(&model), text(&pictures), "--out", text(&out)]);
    assert!(out.join("1.25.txt").is_file() && out.join("1.50.txt").is_file());
}

#[test]
fn the_evaluation_reports_the_numbers_it_was_given() {
    let folder = tempfile::tempdir().unwrap();
    let (labels, results) = (folder.path().join("label_2"), folder.path().join("results"));
    for folder in [&labels, &results] {
        fs::create_dir(folder).unwrap();
    }
    let line = "Car 0 0 -10 0 0 100 100 -1 -1 -1 -1000 -1000 -1000 -10";
    fs::write(labels.join("0.txt"), line).unwrap();
    // IoU 0.7 exactly: only more counts as found.
    fs::write(results.join("0.txt"), format!("{} 0.9", line.replace("100 100", "100 70"))).unwrap();
    let json = folder.path().join("report.json");
    let data = [text(folder.path()), "--results", text(&results), "--json", text(&json)];
    succeed(&[&["eval", "kitti"][..], &data, &["--min-overlap", "0.7", "--score", "0.1"]].concat());
    let report: Value = serde_json::from_str(&fs::read_to_string(&json).unwrap()).unwrap();
    let row = &report["rows"][0];
    assert_eq!((&report["score_threshold"], &row["min_overlap"]), (&0.1.into(), &0.7.into()));
    assert_eq!((&row["class"], &row["true_positives"]), (&"car".into(), &0.into()));
}

#[test]
fn a_picture_that_cannot_be_read_is_named_and_the_rest_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let (model, frame, broken) = (small(folder.path()), frame(), folder.path().join("broken.jpg"));
    fs::write(&broken, "no picture").unwrap();
    let output = onebit(&["detect", text(&model), text(&broken), text(&frame)]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("broken.jpg"));
    assert!(String::from_utf8_lossy(&output.stdout).contains("highway_000.jpg"));
}

#[test]
fn the_benchmark_names_kernel_and_layers() {
    let folder = tempfile::tempdir().unwrap();
    let model = small(folder.path());
    let arguments = ["bench", text(&model), "--rounds", "2", "--kernel", "portable", "--mode", "f32", "--json"];
    let benchmark: Value = serde_json::from_str(&succeed(&arguments)).unwrap();
    assert_eq!((&benchmark["kernel"], &benchmark["mode"]), (&"portable".into(), &"f32".into()));
    assert!(benchmark["median_ms"].as_f64().unwrap() > 0.0);
    if cfg!(target_arch = "x86_64") {
        let peak = benchmark["int8_peak"]["giga_operations_per_second"].as_f64().unwrap();
        let layer = &benchmark["layers"][0];
        let share = layer["giga_operations_per_second"].as_f64().unwrap() / peak;
        assert!((layer["share_of_int8_peak"].as_f64().unwrap() / share - 1.0).abs() < 1e-9);
    }
    for (detection, frame) in benchmark["detections"].as_array().unwrap().iter().zip(["1242x375", "1920x1080"]) {
        assert_eq!(detection["frame"], frame);
        let [letterbox, network, boxes] =
            ["letterbox_ms", "network_ms", "boxes_ms"].map(|key| detection[key].as_f64().unwrap());
        let share = detection["letterbox_share"].as_f64().unwrap();
        assert!((share * (letterbox + network + boxes) / letterbox - 1.0).abs() < 1e-9);
    }
    assert_eq!(benchmark["detections"].as_array().unwrap().len(), 2);
    assert_eq!(benchmark["layers"].as_array().unwrap().last().unwrap()["name"], "prediction");
    assert!(fail(1, &["bench", text(&model), "--kernel", "abacus"]).contains("portable"), "the error lists what there is");
}

#[test]
fn wrong_use_and_wrong_files_have_their_exit_codes() {
    assert!(fail(2, &["detect"]).contains("Usage"));
    assert!(fail(2, &["detect", "m", "f", "--score", "2"]).contains("0 to 1"));
    assert!(fail(1, &["inspect", "missing.safetensors"]).contains("missing.safetensors"));
    assert!(fail(1, &["new", "yolo", "-o", "x"]).contains("darknet-yolo, darknet-yolo-64, mobilenet-yolo"));
}

#[test]
fn the_shipped_model_loads_and_runs_in_both_modes() {
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/demo.safetensors");
    for mode in ["int8", "f32"] {
        let json = succeed(&["detect", text(&model), text(&frame()), "--format", "json", "--mode", mode, "--score", "0.01"]);
        let json: Value = serde_json::from_str(&json).unwrap();
        assert!(!json["detections"].as_array().unwrap().is_empty(), "{mode}");
    }
}

#[test]
fn a_reader_that_has_seen_enough_is_no_panic() {
    let mut program = Command::new(env!("CARGO_BIN_EXE_onebit"))
        .args(["detect", "models/demo.safetensors", "demo/frames"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(program.stdout.take());
    let stderr = program.wait_with_output().unwrap().stderr;
    assert!(stderr.is_empty(), "{}", String::from_utf8_lossy(&stderr));
}
