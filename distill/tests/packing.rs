//! A packed model computes what the training graph computes.

use burn::tensor::{Device, Tensor, TensorData};
use onebit_detector::{
    detection::{ImageView, Resampler},
    engine::{Mode, Options, Session},
    frames::images,
    model_file::{LayerWeights, Model},
};
use onebit_distill::{
    packing::{Options as PackOptions, PackError, pack},
    recipe::{Binarization, BinaryLayers, Recipe},
    student::{Student, binarize::magnitudes},
    training::{Checkpoint, train},
};
use std::{path::Path, process::Command};
use support::frames;

mod support;

const OPTIONS: PackOptions = PackOptions { frames: 4, batch_norm: 0 };

/// A run of a few steps on four frames.
fn trained(folder: &Path, topology: &str) -> Recipe {
    trained_with(folder, topology, "{}")
}

fn trained_with(folder: &Path, topology: &str, binarization: &str) -> Recipe {
    let stages = "stages: [{name: binary, epochs: 2, learning_rate: {peak: 1.0e-3, end: 0}}]";
    let recipe = support::loaded(folder, topology, &format!("binarization: {binarization}\n{stages}"));
    train(&recipe, &folder.join("run"), false).unwrap();
    recipe
}

#[test]
fn the_engine_equals_the_graph_on_real_frames() {
    for (topology, binarization) in [
        ("darknet-yolo", "{}"),
        ("darknet-yolo-64", "{}"),
        ("mobilenet-yolo", "{}"),
        ("darknet-yolo-64, full_precision: [conv2, conv13]", "{}"),
        ("darknet-yolo-64", "{clip: false}"),
        ("darknet-yolo-64", "{standardise: true}"),
        ("darknet-yolo-64", "{scale: learned}"),
        ("mobilenet-yolo", "{clip: false, standardise: true, scale: learned}"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let recipe = trained_with(folder.path(), topology, binarization);
        let model = pack(&folder.path().join("run"), &recipe, OPTIONS).unwrap();
        let network = &model.network;

        let device = Device::flex();
        let fresh = Student::new(network, recipe.binarization, &device);
        let (mut student, _) = Checkpoint::student(&folder.path().join("run"), fresh).unwrap();
        student.set_binary(&BinaryLayers::All);
        let options = Options { mode: Mode::F32, keep_layers: true, ..Options::default() };
        let mut session = Session::new(&model, &options).unwrap();
        let mut resampler = Resampler::new(network.input(), model.preprocessing);
        for frame in frames().iter().skip(4).take(2) {
            let image = images::decode(frame).unwrap();
            let (picture, _) = resampler.picture(&ImageView::from_rgb(&image).unwrap());
            let mut input = session.input_mut();
            let row = 3 * picture.width() as usize;
            picture.as_raw().chunks_exact(row).enumerate().for_each(|(y, rgb)| input.write_row(y, rgb));
            session.run();

            let (w, h) = (picture.width() as usize, picture.height() as usize);
            let planar = |c: usize| picture.pixels().map(move |p| f32::from(p.0[c]) / 255.0);
            let values: Vec<f32> = (0..3).flat_map(planar).collect();
            let graph = student.forward_all(Tensor::from_data(TensorData::new(values, [1, 3, h, w]), &device));
            for (index, expected) in graph.into_iter().enumerate() {
                let expected: Vec<f32> = expected.into_data().try_to_vec().unwrap();
                let found = session.layer(index);
                let largest = expected.iter().fold(0f32, |m, v| m.max(v.abs()));
                for (found, expected) in found.iter().zip(&expected) {
                    assert!(
                        (found - expected).abs() <= 1e-3 * largest,
                        "{topology} {binarization} {}: {found}, the graph says {expected}",
                        network.layers()[index].name
                    );
                }
            }
        }
    }
}

#[test]
fn a_packed_model_is_calibrated_binary_and_survives_its_file() {
    let folder = tempfile::tempdir().unwrap();
    let recipe = trained(folder.path(), "darknet-yolo-64");
    let model = pack(&folder.path().join("run"), &recipe, OPTIONS).unwrap();
    assert!(model.quantization.is_some());
    let binary = model.weights.iter().filter(|w| matches!(w, LayerWeights::Binary(_))).count();
    assert_eq!(binary, 21, "all 23 convolutions but the first and the last");
    let git = Command::new("git")
        .args(["rev-parse", "HEAD"])
        .output()
        .map(|o| String::from_utf8_lossy(&o.stdout).trim().to_owned());
    assert_eq!(model.provenance.commit, git.unwrap_or_default());
    let path = folder.path().join("model.safetensors");
    model.save(&path).unwrap();
    assert_eq!(Model::load(&path).unwrap(), model);
}

#[test]
fn standardised_weights_are_packed_with_other_signs_and_scales() {
    let folder = tempfile::tempdir().unwrap();
    let recipe = trained_with(folder.path(), "darknet-yolo-64", "{standardise: true}");
    let plain = Recipe { binarization: Binarization::default(), ..recipe.clone() };
    let [found, plain] = [recipe, plain].map(|recipe| pack(&folder.path().join("run"), &recipe, OPTIONS).unwrap().weights);
    for (found, plain) in found.iter().zip(&plain) {
        if let (LayerWeights::Binary(found), LayerWeights::Binary(plain)) = (found, plain) {
            assert!(found.bits != plain.bits && found.scale != plain.scale);
        }
    }
}

#[test]
fn a_learned_scale_is_no_longer_the_mean_magnitude_and_stays_with_its_run() {
    let folder = tempfile::tempdir().unwrap();
    let recipe = trained_with(folder.path(), "darknet-yolo-64", "{scale: learned}");
    let run = folder.path().join("run");
    let fresh = Student::new(&recipe.build_network().unwrap(), recipe.binarization, &Device::flex());
    let (student, _) = Checkpoint::student(&run, fresh).unwrap();
    let values = |tensor: Tensor<1>| tensor.into_data().try_to_vec::<f32>().unwrap();
    let learned: Vec<_> = student.filters.iter().filter_map(|f| f.scale.as_ref().map(|scale| (f, scale.val()))).collect();
    assert_eq!(learned.len(), 21);
    for (filters, scale) in learned {
        assert_ne!(values(scale), values(magnitudes(filters.latent.val()).flatten(0, 3)));
    }
    let plain = Recipe { binarization: Binarization::default(), ..recipe };
    let error = pack(&run, &plain, OPTIONS).unwrap_err().to_string();
    assert!(error.contains("student.bpk"), "{error}");
}

#[test]
fn batch_norm_is_measured_anew_if_wanted() {
    let folder = tempfile::tempdir().unwrap();
    let recipe = trained(folder.path(), "darknet-yolo-64");
    let run = folder.path().join("run");
    let weights = |batch_norm| pack(&run, &recipe, PackOptions { batch_norm, ..OPTIONS }).unwrap().weights;
    let (kept, measured) = (weights(0), weights(3));
    assert_eq!(weights(3), measured);
    for (kept, measured) in kept.iter().zip(&measured) {
        match (kept, measured) {
            (LayerWeights::Binary(kept), LayerWeights::Binary(measured)) => {
                assert_eq!(kept.bits, measured.bits);
                assert_ne!(kept.scale, measured.scale);
            }
            (LayerWeights::Full(kept), LayerWeights::Full(measured)) => assert_eq!(kept.inputs, measured.inputs),
            (kept, measured) => assert_eq!(kept, measured),
        }
    }
}

#[test]
fn a_run_without_a_checkpoint_or_not_yet_binary_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut recipe = trained(folder.path(), "darknet-yolo-64");
    let error = pack(&folder.path().join("elsewhere"), &recipe, OPTIONS).unwrap_err();
    assert!(error.to_string().contains("elsewhere"), "{error}");
    recipe.stages[0].binary = BinaryLayers::None;
    let error = pack(&folder.path().join("run"), &recipe, OPTIONS).unwrap_err();
    assert!(matches!(error, PackError::NotBinary { .. }), "{error}");
}
