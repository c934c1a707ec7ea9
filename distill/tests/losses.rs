//! The losses of the transfer against NumPy: values, and gradients by central differences.

#[path = "../../tests/support/python.rs"]
mod python;

use burn::tensor::{Device, Distribution, Tensor, TensorData};
use onebit_detector::{detection::BBox, network::InputSize};
use onebit_distill::{
    data::Label,
    transfer::{RegionOutputs, attention, cwd, emphasis, fgd, l2, output, pkd},
};
use serde_json::{Value, json};
use std::fs;

/// A batch of two pictures.
const SHAPE: [usize; 4] = [2, 14, 3, 4];
const SIZE: InputSize = InputSize { width: 64, height: 48 };
/// Corners and whether it is an object: two that overlap, an ignore region; one that fills its picture but a column.
const BOXES: [&[([f32; 4], bool)]; 2] = [
    &[([3.0, 4.0, 40.0, 30.0], true), ([20.0, 17.0, 31.0, 40.0], true), ([0.0, 0.0, 64.0, 48.0], false)],
    &[([16.0, 0.0, 64.0, 48.0], true)],
];
const OUTPUTS: RegionOutputs = RegionOutputs { anchors: 2, classes: 2 };

fn labels() -> Vec<Vec<Label>> {
    let label = |&(corners, object): &([f32; 4], bool)| {
        let class = object.then_some(0);
        Label { bbox: BBox::from_corners(corners), class, weight: 1.0 }
    };
    BOXES.iter().map(|boxes| boxes.iter().map(label).collect()).collect()
}

fn loss(name: &str, student: Tensor<4>, teacher: Tensor<4>) -> Tensor<1> {
    match name {
        "l2" => l2(student, teacher),
        "attention" => attention(student, teacher),
        "cwd" => cwd(student, teacher, 2.0),
        "pkd" => pkd(student, teacher),
        "fgd" => {
            let [_, _, height, width] = SHAPE;
            fgd(student.clone(), teacher, emphasis(&labels(), SIZE, [height, width], &student.device()))
        }
        "output" => output(student, teacher, OUTPUTS),
        _ => unreachable!("listed in the test"),
    }
}

fn case(name: &str, student: &[f32], teacher: &[f32]) -> Value {
    let boxes: Vec<Vec<Vec<f32>>> = BOXES
        .iter()
        .map(|boxes| boxes.iter().map(|(c, object)| [&c[..], &[f32::from(u8::from(*object))]].concat()).collect())
        .collect();
    json!({
        "loss": name, "shape": SHAPE, "student": student, "teacher": teacher, "temperature": 2.0,
        "size": [SIZE.width, SIZE.height], "boxes": boxes, "anchors": OUTPUTS.anchors, "classes": OUTPUTS.classes,
    })
}

fn vector<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().try_to_vec().unwrap()
}

#[test]
fn values_and_gradients_equal_those_of_numpy() {
    let device = Device::flex();
    device.seed(3);
    let random = || vector(Tensor::<4>::random(SHAPE, Distribution::Normal(0.3, 1.5), &device));
    let device = device.clone().autodiff();
    let names = ["l2", "attention", "cwd", "pkd", "fgd", "output"];
    let mut cases = Vec::new();
    let mut found = Vec::new();
    for name in names {
        let (student, teacher) = (random(), random());
        cases.push(case(name, &student, &teacher));
        let tensor = |values| Tensor::<4>::from_data(TensorData::new(values, SHAPE), &device);
        let (student, teacher) = (tensor(student).require_grad(), tensor(teacher));
        let value = loss(name, student.clone(), teacher);
        let gradient = student.grad(&value.backward()).expect("the loss depends on the student");
        found.push((value.into_scalar::<f32>(), vector(gradient)));
    }

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("cases.json");
    fs::write(&file, serde_json::to_string(&cases).unwrap()).unwrap();
    let answers: Vec<Value> = serde_json::from_str(&python::python(include_str!("support/losses.py"), &file)).unwrap();
    assert_eq!(answers.len(), names.len());
    for ((name, (value, gradient)), answer) in names.iter().zip(found).zip(answers) {
        let expected = answer["value"].as_f64().unwrap();
        assert!((f64::from(value) - expected).abs() < 1e-5 * expected.abs(), "{name}: {value}, in NumPy {expected}");
        let expected: Vec<f64> = serde_json::from_value(answer["gradient"].clone()).unwrap();
        assert_eq!(gradient.len(), expected.len());
        let largest = expected.iter().fold(0f64, |m, g| m.max(g.abs()));
        for (index, (gradient, expected)) in gradient.iter().zip(&expected).enumerate() {
            let error = (f64::from(*gradient) - expected).abs();
            assert!(error < 1e-4 * largest, "{name}, value {index}: {gradient}, in NumPy {expected}, largest {largest}");
        }
    }
}

#[test]
fn equal_features_have_no_loss_and_dead_ones_a_finite_gradient() {
    let device = Device::flex().autodiff();
    let random = Tensor::<4>::random(SHAPE, Distribution::Normal(0.0, 1.0), &device);
    for name in ["l2", "attention", "cwd", "pkd", "fgd", "output"] {
        let same = loss(name, random.clone(), random.clone()).into_scalar::<f32>();
        assert!(same.abs() < 1e-6, "{name}: {same}");
        let dead = Tensor::<4>::zeros(SHAPE, &device).require_grad();
        let value = loss(name, dead.clone(), random.clone());
        let gradient = vector(dead.grad(&value.backward()).unwrap());
        assert!(gradient.iter().all(|g| g.is_finite()), "{name}");
        assert!(value.into_scalar::<f32>().is_finite(), "{name}");
    }
}
