//! KITTI's average precision against values of the official evaluation, and its quirks worked by hand.

use onebit_detector::{
    detection::{BBox, Detection},
    evaluation::kitti::{Frame, MissingScore, Protocol, Report, ResultsError, Row, evaluate, read_results},
    frames::kitti::{Label, detected, write},
};
use std::{fs, path::Path};

/// Class, then R11 and R40 at easy, moderate and hard, as the programs named in the golden set's README print them.
const EXPECTED: [(&str, [f64; 3], [f64; 3]); 3] = [
    ("car", [54.0817, 56.4546, 57.7327], [56.8903, 59.5078, 58.9844]),
    ("pedestrian", [76.4053, 75.6232, 68.0045], [80.7544, 74.4705, 69.9280]),
    ("cyclist", [33.5997, 47.8206, 48.4105], [32.9243, 50.0346, 49.1390]),
];
const DIFFICULTIES: [&str; 3] = ["easy", "moderate", "hard"];

fn unpack_golden_set() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let packed =
        fs::File::open(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/kitti_golden/golden.tar.gz")).unwrap();
    tar::Archive::new(flate2::read::GzDecoder::new(packed)).unpack(folder.path()).unwrap();
    folder
}

#[test]
fn the_golden_set_gives_the_values_of_the_development_kit() {
    let golden = unpack_golden_set();
    let frames = read_results(&golden.path().join("gt"), &golden.path().join("pred/data")).unwrap();
    assert_eq!(frames.len(), 200);
    assert_eq!(frames.iter().map(|f| f.detections.len()).sum::<usize>(), 1128);
    let report = evaluate(&frames, &Protocol::default()).unwrap();
    for (class, r11, r40) in EXPECTED {
        let curves = fs::read_to_string(golden.path().join(format!("expected/{class}_precision41_R40devkit.txt"))).unwrap();
        let curves: Vec<Vec<f64>> =
            curves.lines().map(|line| line.split_whitespace().map(|p| p.parse().unwrap()).collect()).collect();
        for (i, difficulty) in DIFFICULTIES.into_iter().enumerate() {
            let row = report.row(class, difficulty).unwrap();
            assert!((row.r11.unwrap() - r11[i]).abs() < 1e-4, "{class} {difficulty}: R11 {:?}, not {}", row.r11, r11[i]);
            assert!((row.r40.unwrap() - r40[i]).abs() < 1e-4, "{class} {difficulty}: R40 {:?}, not {}", row.r40, r40[i]);
            assert_eq!(row.precision.len(), 41);
            assert_eq!(curves[i].len(), 41);
            for (position, (ours, theirs)) in row.precision.iter().zip(&curves[i]).enumerate() {
                assert!((ours - theirs).abs() < 1e-6, "{class} {difficulty}, recall {position}/40: {ours}, not {theirs}");
            }
        }
    }
}

#[test]
fn the_order_of_frames_does_not_matter() {
    let golden = unpack_golden_set();
    let mut frames = read_results(&golden.path().join("gt"), &golden.path().join("pred/data")).unwrap();
    let before = evaluate(&frames, &Protocol::default()).unwrap();
    frames.reverse();
    assert_eq!(evaluate(&frames, &Protocol::default()).unwrap(), before);
}

fn labelled(class: &str, corners: [f64; 4]) -> Label {
    let [x1, y1, x2, y2] = corners;
    format!("{class} 0 0 -10 {x1} {y1} {x2} {y2} -1 -1 -1 -1000 -1000 -1000 -10").parse().unwrap()
}

fn found(class: &str, corners: [f64; 4], score: f64) -> Label {
    Label { score: Some(score), ..labelled(class, corners) }
}

fn report(labels: &[Label], detections: &[Label]) -> Report {
    let frame = Frame { name: "000000".into(), labels: labels.to_vec(), detections: detections.to_vec() };
    evaluate(&[frame], &Protocol { score_threshold: 0.5, ..Protocol::default() }).unwrap()
}

fn row(class: &str, difficulty: &str, labels: &[Label], detections: &[Label]) -> Row {
    report(labels, detections).row(class, difficulty).unwrap().clone()
}

/// True positives, false positives, false negatives.
fn counts(row: &Row) -> [usize; 3] {
    [row.true_positives, row.false_positives, row.false_negatives]
}

fn moderate(class: &str, labels: &[Label], detections: &[Label]) -> [usize; 3] {
    counts(&row(class, "moderate", labels, detections))
}

const BOX: [f64; 4] = [100.0, 100.0, 200.0, 200.0];
const ELSEWHERE: [f64; 4] = [500.0, 100.0, 600.0, 200.0];

#[test]
fn found_missed_and_made_up() {
    let car = [labelled("Car", BOX)];
    assert_eq!(moderate("car", &car, &[found("car", BOX, 0.5)]), [1, 0, 0], "the threshold itself counts, case does not");
    assert_eq!(moderate("car", &car, &[found("Car", BOX, 0.49)]), [0, 0, 1], "below the threshold");
    assert_eq!(moderate("car", &car, &[found("Car", ELSEWHERE, 0.9)]), [0, 1, 1]);
    assert_eq!(moderate("car", &car, &[found("Cyclist", BOX, 0.9)]), [0, 0, 1], "other classes are not asked");
    assert_eq!(moderate("car", &[labelled("Truck", BOX)], &[found("Car", BOX, 0.9)]), [0, 1, 0]);
}

#[test]
fn an_overlap_must_exceed_the_minimum() {
    let pedestrian = [labelled("Pedestrian", BOX)];
    assert_eq!(moderate("pedestrian", &pedestrian, &[found("Pedestrian", [100.0, 100.0, 150.0, 200.0], 0.9)]), [0, 1, 1]);
    assert_eq!(moderate("pedestrian", &pedestrian, &[found("Pedestrian", [100.0, 100.0, 150.1, 200.0], 0.9)]), [1, 0, 0]);
    let frame = Frame {
        labels: vec![labelled("Car", BOX)],
        detections: vec![found("Car", [100.0, 100.0, 160.0, 200.0], 0.9)],
        ..Frame::default()
    };
    let found_at = |protocol: Protocol| {
        let report = evaluate(std::slice::from_ref(&frame), &protocol).unwrap();
        report.row("car", "moderate").unwrap().true_positives
    };
    assert_eq!(found_at(Protocol::default()), 0, "an overlap of 0.6 is no car");
    assert_eq!(found_at(Protocol::default().with_min_overlap(0.5)), 1);
}

#[test]
fn a_ground_truth_as_high_as_the_minimum_is_ignored_and_a_detection_is_not() {
    let high = |height: f64| [100.0, 100.0, 200.0, 100.0 + height];
    let easy = |truth: f64, detection: f64| {
        let row = row("car", "easy", &[labelled("Car", high(truth))], &[found("Car", high(detection), 0.9)]);
        (row.objects, counts(&row))
    };
    assert_eq!(easy(40.0, 40.0), (0, [0, 0, 0]), "the ignored one takes the detection");
    assert_eq!(easy(40.01, 40.0), (1, [1, 0, 0]));
    assert_eq!(easy(40.01, 39.99), (1, [0, 0, 1]), "too small to find anything");
    let alone = |height: f64| counts(&row("car", "easy", &[], &[found("Car", high(height), 0.9)]));
    assert_eq!(alone(40.0), [0, 1, 0]);
    assert_eq!(alone(39.99), [0, 0, 0], "too small to be wrong");
    let objects =
        |difficulty| row("car", difficulty, &[labelled("Car", high(25.0)), labelled("Car", high(25.5))], &[]).objects;
    assert_eq!(DIFFICULTIES.map(objects), [0, 1, 1]);
}

#[test]
fn the_largest_occlusion_and_truncation_still_count() {
    let objects = |occluded, truncated| {
        let car = [Label { occluded, truncated, ..labelled("Car", BOX) }];
        DIFFICULTIES.map(|difficulty| row("car", difficulty, &car, &[]).objects)
    };
    assert_eq!(objects(0, 0.15), [1, 1, 1]);
    assert_eq!(objects(1, 0.15), [0, 1, 1]);
    assert_eq!(objects(2, 0.15), [0, 0, 1]);
    assert_eq!(objects(3, 0.15), [0, 0, 0]);
    assert_eq!(objects(0, 0.16), [0, 1, 1]);
    assert_eq!(objects(0, 0.30), [0, 1, 1]);
    assert_eq!(objects(0, 0.31), [0, 0, 1]);
    assert_eq!(objects(0, 0.51), [0, 0, 0]);
}

#[test]
fn a_detection_on_a_neighbour_class_is_ignored() {
    assert_eq!(moderate("car", &[labelled("Van", BOX)], &[found("Car", BOX, 0.9)]), [0, 0, 0]);
    let sitting = [labelled("Person_sitting", BOX)];
    assert_eq!(moderate("pedestrian", &sitting, &[found("Pedestrian", BOX, 0.9)]), [0, 0, 0]);
    assert_eq!(moderate("cyclist", &sitting, &[found("Cyclist", BOX, 0.9)]), [0, 1, 0]);
}

#[test]
fn ground_truths_take_detections_in_the_order_of_the_file() {
    let (van, car, detection) = (labelled("Van", BOX), labelled("Car", BOX), found("Car", BOX, 0.9));
    assert_eq!(moderate("car", &[van.clone(), car.clone()], std::slice::from_ref(&detection)), [0, 0, 1]);
    assert_eq!(moderate("car", &[car, van], &[detection]), [1, 0, 0]);
}

#[test]
fn a_dont_care_region_excuses_what_lies_in_it() {
    let region = [labelled("DontCare", [0.0, 0.0, 600.0, 300.0])];
    assert_eq!(moderate("car", &region, &[found("Car", BOX, 0.9)]), [0, 0, 0], "a small part of the region, all of the box");
    let reaching_out = |inside: f64| [600.0 - inside, 100.0, 700.0 - inside, 200.0];
    assert_eq!(moderate("car", &region, &[found("Car", reaching_out(70.0), 0.9)]), [0, 1, 0], "not more than 0.7");
    assert_eq!(moderate("car", &region, &[found("Car", reaching_out(71.0), 0.9)]), [0, 0, 0]);
    assert_eq!(moderate("cyclist", &region, &[found("Cyclist", reaching_out(51.0), 0.9)]), [0, 0, 0], "the class's own 0.5");
    let twice = [region[0].clone(), region[0].clone()];
    let detections = [found("Car", BOX, 0.9), found("Car", [700.0, 0.0, 800.0, 100.0], 0.9)];
    assert_eq!(moderate("car", &twice, &detections), [0, 1, 0], "two regions excuse one detection once");
    let labels = [labelled("DontCare", BOX), labelled("Car", BOX)];
    assert_eq!(moderate("car", &labels, &[found("Car", BOX, 0.9)]), [1, 0, 0], "an object in a region can be found");
}

#[test]
fn a_duplicate_is_a_false_positive_and_the_best_overlap_is_the_true_one() {
    let car = [labelled("Car", BOX)];
    let loose = found("Car", [100.0, 100.0, 180.0, 200.0], 0.9);
    let exact = found("Car", BOX, 0.6);
    let row = row("car", "moderate", &car, &[loose, exact]);
    assert_eq!(counts(&row), [1, 1, 0]);
    assert_eq!(row.precision[0], 1.0, "sampled at 0.9, the best score on the car");
}

#[test]
fn a_small_box_of_any_class_takes_an_object() {
    let pedestrian = [labelled("Pedestrian", [100.0, 100.0, 120.0, 126.0])];
    let small = found("Cyclist", [100.0, 100.0, 120.0, 124.0], 0.9);
    let right = found("Pedestrian", [100.0, 100.0, 120.0, 126.0], 0.8);
    let alone = row("pedestrian", "moderate", &pedestrian, std::slice::from_ref(&small));
    assert_eq!(counts(&alone), [0, 0, 1]);
    // With the better score the small box keeps the right one from setting a threshold, so that nothing is sampled;
    // at a threshold the right one is preferred, wherever it stands in the file.
    for detections in [[small.clone(), right.clone()], [right, small]] {
        let both = row("pedestrian", "moderate", &pedestrian, &detections);
        assert_eq!(counts(&both), [1, 0, 0]);
        assert_eq!(both.r11, Some(0.0));
    }
    // At the easy height it is no object, and both boxes are too small to count.
    assert_eq!(row("pedestrian", "easy", &pedestrian, &[]).r40, None);
}

#[test]
fn few_objects_give_few_samples() {
    let perfect = |objects: usize| {
        let place = |i: usize| [200.0 * i as f64, 100.0, 200.0 * i as f64 + 100.0, 200.0];
        let labels: Vec<Label> = (0..objects).map(|i| labelled("Car", place(i))).collect();
        let detections: Vec<Label> = (0..objects).map(|i| found("Car", place(i), 1.0 - 0.001 * i as f64)).collect();
        row("car", "moderate", &labels, &detections)
    };
    assert_eq!((perfect(1).r11, perfect(1).r40), (Some(100.0 / 11.0), Some(0.0)));
    assert_eq!(perfect(10).precision, [[1.0; 10].as_slice(), &[0.0; 31]].concat());
    assert_eq!(perfect(10).r40, Some(22.5));
    for objects in [41, 80, 400] {
        assert_eq!((perfect(objects).r11, perfect(objects).r40), (Some(100.0), Some(100.0)), "{objects} objects");
    }
}

#[test]
fn what_a_detector_finds_is_evaluated_as_it_is_written() {
    let classes = ["car".to_owned(), "pedestrian".into()];
    let bbox = BBox::from_corners([100.0, 100.0, 200.0, 200.0]);
    let detections = detected(&[Detection { class: 0, score: 0.75, bbox }], &classes);
    assert_eq!(moderate("car", &[labelled("Car", BOX)], &detections), [1, 0, 0]);
}

#[test]
fn a_detection_without_a_score_is_named() {
    let detections = vec![found("Car", BOX, 0.9), labelled("Cyclist", BOX)];
    let frame = Frame { name: "000007.txt".into(), labels: vec![], detections };
    let error = evaluate(&[frame], &Protocol::default()).unwrap_err();
    assert_eq!(error, MissingScore { frame: "000007.txt".into(), position: 2, class: "Cyclist".into() });
    assert_eq!(error.to_string(), "frame 000007.txt: detection 2 (Cyclist) has no score");
}

#[test]
fn a_report_is_a_table_and_json() {
    let labels = [labelled("Car", BOX), labelled("Car", ELSEWHERE)];
    let report = report(&labels, &[found("Car", BOX, 0.9), found("Pedestrian", BOX, 0.9)]);
    let table = "\
1 frames; AP and recall in percent; TP, FP, FN and recall at scores of 0.5 and more
class       difficulty   IoU  objects  AP R11  AP R40      TP      FP      FN  recall
car         easy        0.70        2    9.09    0.00       1       0       1   50.00
car         moderate    0.70        2    9.09    0.00       1       0       1   50.00
car         hard        0.70        2    9.09    0.00       1       0       1   50.00
pedestrian  easy        0.50        0       -       -       0       1       0       -
pedestrian  moderate    0.50        0       -       -       0       1       0       -
pedestrian  hard        0.50        0       -       -       0       1       0       -
cyclist     easy        0.50        0       -       -       0       0       0       -
cyclist     moderate    0.50        0       -       -       0       0       0       -
cyclist     hard        0.50        0       -       -       0       0       0       -
AP cannot reach 100 where there are fewer than 41 objects: it is sampled once for each, at most.
";
    assert_eq!(report.to_string(), table);
    let json = serde_json::to_string(&report).unwrap();
    assert_eq!(serde_json::from_str::<Report>(&json).unwrap(), report);
}

#[test]
fn every_frame_needs_a_result_file() {
    let folder = tempfile::tempdir().unwrap();
    let (labels, results) = (folder.path().join("label_2"), folder.path().join("results"));
    let read = || read_results(&labels, &results);
    assert!(matches!(read(), Err(ResultsError::Io { path, .. }) if path == labels));
    fs::create_dir(&labels).unwrap();
    fs::create_dir(&results).unwrap();
    assert!(matches!(read(), Err(ResultsError::NoLabels { path }) if path == labels));

    let names: Vec<String> = (0..8).map(|i| format!("{i:06}.txt")).collect();
    for name in &names {
        write(&labels.join(name), &[labelled("Car", BOX)]).unwrap();
    }
    write(&results.join("000001.txt"), &[found("Car", BOX, 0.9)]).unwrap();
    let error = read().unwrap_err().to_string();
    let words = "results: 7 of 8 frames have no result file (an empty one says that nothing was found): \
                 000000.txt, 000002.txt, 000003.txt, 000004.txt, 000005.txt, …";
    assert!(error.ends_with(words), "{error}");

    for name in &names {
        write(&results.join(name), &[]).unwrap();
    }
    let frames = read().unwrap();
    assert_eq!(frames.iter().map(|f| &f.name).collect::<Vec<_>>(), names.iter().collect::<Vec<_>>());
    fs::write(results.join("000003.txt"), "Car 1 2\n").unwrap();
    let error = read().unwrap_err().to_string();
    assert!(error.ends_with("000003.txt, line 1: 3 fields; a label has 15, a detection has 16"), "{error}");
}
