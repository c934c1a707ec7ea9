//! The engine against an independent reference, layer by layer.

mod models;
mod reference;

use super::{EngineError, Mode, Options, Session, arithmetic::IMAGE, calibrate, kernels};
use crate::{
    model_file::{BinaryWeights, FullWeights, LayerWeights, Model, Quantization},
    network::{Activation, Convolution, Depthwise, InputSize, Operation, Precision, Source},
};
use image::RgbImage;
use models::{Random, Wish, calibrated, network, networks, uncalibrated};
use ndarray::Array3;
use proptest::prelude::*;

fn session(model: &Model, mode: Mode, threads: usize, kernel: &str, keep_layers: bool) -> Session {
    Session::new(model, &Options { mode, threads, kernel: Some(kernel.into()), keep_layers }).unwrap()
}

fn run(session: &mut Session, image: &RgbImage) {
    let mut input = session.input_mut();
    for (y, row) in image.as_raw().chunks_exact(3 * image.width() as usize).enumerate() {
        input.write_row(y, row);
    }
    session.run();
}

fn planes<T>(image: &RgbImage, value: impl Fn(u8) -> T) -> Array3<T> {
    let shape = (3, image.height() as usize, image.width() as usize);
    Array3::from_shape_fn(shape, |(c, y, x)| value(image.get_pixel(x as u32, y as u32)[c]))
}

/// Every layer in f32 mode equals the reference applied to the engine's own earlier layers.
fn check_f32(model: &Model, image: &RgbImage, kernel: &str) {
    let mut session = session(model, Mode::F32, 1, kernel, true);
    run(&mut session, image);
    let input = planes(image, |byte| f64::from(f32::from(byte) / 255.0));
    for (index, layer) in model.network.layers().iter().enumerate() {
        let read = |source: &Source| match *source {
            Source::Image => input.clone(),
            Source::Layer(i) => session.layer(i).mapv(f64::from),
        };
        let inputs: Vec<_> = layer.inputs.iter().map(read).collect();
        let (expected, magnitude) = reference::float_layer(model, index, &inputs);
        let fixed_point = fixed_point_errors(model, index, &inputs[0], kernel);
        let found = session.layer(index);
        assert_eq!(found.dim(), expected.dim());
        for ((position, &expected), &found) in expected.indexed_iter().zip(&found) {
            let error = (expected - f64::from(found)).abs();
            let bound = 1e-5 * magnitude[position] + fixed_point[position.0] + f64::from(f32::MIN_POSITIVE) * 1e-5;
            assert!(error <= bound, "{kernel}, {} at {position:?}: {found}, expected {expected}", layer.name);
        }
    }
    assert_eq!(session.output().to_array(), session.layer(model.network.layers().len() - 1));
}

/// How far the outputs of each filter may lie from the right ones because the kernel writes floats as fixed point.
fn fixed_point_errors(model: &Model, index: usize, input: &Array3<f64>, kernel: &str) -> Vec<f64> {
    let largest = input.iter().fold(0.0f64, |largest, x| largest.max(x.abs()));
    let error = (largest * 0.5f64.powi(23)).max(0.5f64.powi(127));
    match &model.weights[index] {
        // Three sums become floats, which counts little.
        LayerWeights::Binary(w) if kernel == "amx-planes" => {
            w.scale.iter().map(|&scale| 1.01 * f64::from(scale.abs()) * w.inputs as f64 * error).collect()
        }
        _ => vec![0.0; model.network.shapes()[index].channels],
    }
}

/// Every layer in int8 mode equals the reference, which goes its own way from the image on.
fn check_int8(model: &Model, image: &RgbImage, kernel: &str) {
    let mut session = session(model, Mode::Int8, 1, kernel, true);
    run(&mut session, image);
    let quantization = model.quantization.as_ref().unwrap();
    let mut layers: Vec<Array3<u8>> = Vec::new();
    let last = model.network.layers().len() - 1;
    for (index, layer) in model.network.layers().iter().enumerate() {
        let read = |source: &Source| match *source {
            Source::Image => (planes(image, |byte| byte), IMAGE),
            Source::Layer(i) => (layers[i].clone(), quantization[i]),
        };
        let (inputs, quantizations): (Vec<_>, Vec<_>) = layer.inputs.iter().map(read).unzip();
        if index == last {
            let expected = reference::byte_convolution(model, index, &inputs[0], quantizations[0], 1.0);
            assert_eq!(session.layer(index), expected, "{}", layer.name);
            assert_eq!(session.output().to_array(), expected);
        } else {
            let bytes = reference::byte_layer(model, index, &inputs, quantizations[0]);
            let Quantization { scale, zero_point } = quantization[index];
            let expected = bytes.mapv(|byte| scale * (f32::from(byte) - f32::from(zero_point)));
            assert_eq!(session.layer(index), expected, "{}", layer.name);
            layers.push(bytes);
        }
    }
}

/// Every kernel gives what the portable one gives, in int8 mode: for networks on which the reference would take too long.
fn check_like_portable(model: &Model, image: &RgbImage) {
    let output = |kernel| {
        let mut session = session(model, Mode::Int8, 2, kernel, false);
        run(&mut session, image);
        session.output().to_array()
    };
    let expected = output("portable");
    for kernel in kernels(Mode::Int8) {
        assert!(output(kernel) == expected, "{kernel}, input {}", model.network.input());
    }
}

/// Every kernel gives floats near the portable ones, whether or not layers are kept (and pools computed apart).
fn check_floats_like_portable(model: &Model, image: &RgbImage) {
    let output = |kernel, keep| {
        let mut session = session(model, Mode::F32, 2, kernel, keep);
        run(&mut session, image);
        session.output().to_array()
    };
    let expected = output("portable", false);
    let largest = expected.iter().fold(0.0f32, |largest, x| largest.max(x.abs()));
    for (kernel, keep) in kernels(Mode::F32).into_iter().flat_map(|kernel| [(kernel, false), (kernel, true)]) {
        let error = (&output(kernel, keep) - &expected).iter().fold(0.0f32, |error, x| error.max(x.abs()));
        let input = model.network.input();
        assert!(error <= 2e-5 * largest, "{kernel}, layers kept: {keep}, input {input}: {error} of {largest}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn f32_layers_equal_the_reference(network in networks(), seed: u64) {
        let mut random = Random(seed);
        let model = uncalibrated(network, &mut random);
        let image = models::image(model.network.input(), &mut random);
        for kernel in kernels(Mode::F32) {
            check_f32(&model, &image, kernel);
        }
    }

    #[test]
    fn int8_layers_equal_the_reference_bit_for_bit(network in networks(), seed: u64) {
        let mut random = Random(seed);
        let model = calibrated(network, &mut random);
        let image = models::image(model.network.input(), &mut random);
        for kernel in kernels(Mode::Int8) {
            check_int8(&model, &image, kernel);
        }
    }

    /// Neither threads nor reused memory nor an earlier frame change a bit.
    #[test]
    fn output_depends_on_the_image_only(network in networks(), seed: u64) {
        let mut random = Random(seed);
        let model = calibrated(network, &mut random);
        let [image, other] = [(); 2].map(|()| models::image(model.network.input(), &mut random));
        for mode in [Mode::F32, Mode::Int8] {
            for kernel in kernels(mode) {
                // A pool that is computed with its convolution may change the order in which floats are summed.
                let mut alone = session(&model, mode, 1, kernel, mode == Mode::Int8);
                run(&mut alone, &image);
                let expected = alone.output().to_array();
                for threads in 1..=4 {
                    let mut session = session(&model, mode, threads, kernel, false);
                    for picture in [&image, &other, &image] {
                        run(&mut session, picture);
                    }
                    prop_assert_eq!(session.output().to_array(), expected.clone());
                }
            }
        }
    }
}

fn convolution(filters: usize, kernel: usize, stride: usize, precision: Precision) -> Wish {
    let activation = Activation::Leaky;
    let convolution = Convolution { filters, kernel, stride, precision, batch_norm: true, activation };
    Wish { from: vec![0], operation: Operation::Convolution(convolution) }
}

fn depthwise(stride: usize) -> Wish {
    let depthwise = Depthwise { stride, activation: Activation::Relu };
    Wish { from: vec![0], operation: Operation::Depthwise(depthwise) }
}

/// All inputs 255 and all full-precision weights the largest + or − that there are.
#[test]
fn the_largest_weighted_sums_are_exact() {
    let wishes = [convolution(40, 1, 1, Precision::Full), depthwise(1), convolution(34, 3, 1, Precision::Full)];
    let mut random = Random(11);
    let mut model = calibrated(network(InputSize { width: 9, height: 7 }, &wishes), &mut random);
    for (layer, weights) in model.weights.iter_mut().enumerate() {
        let LayerWeights::Full(full) = weights else { panic!("all layers are full precision") };
        for (filter, row) in full.weights.chunks_exact_mut(full.inputs).enumerate() {
            row.fill(if layer < 2 || filter % 2 == 0 { 1.0 } else { -1.0 });
        }
        full.bias.fill(if layer < 2 { 1e4 } else { 0.0 });
    }
    let image = models::image(model.network.input(), &mut random);
    for kernel in kernels(Mode::Int8) {
        check_int8(&model, &image, kernel);
    }
}

/// All inputs 255 and all weights + or all −: the largest sums there are. On the second map one position is left over when
/// tables cut it in lines.
#[test]
fn the_largest_sums_are_exact() {
    let map = InputSize { width: 11, height: 5 };
    let rest = InputSize { width: 15, height: 2 };
    for (channels, kernel, stride, size) in
        [(300, 3, 1, map), (300, 3, 1, rest), (300, 3, 2, map), (520, 1, 1, map), (129, 3, 1, map)]
    {
        let wishes = [convolution(channels, 1, 1, Precision::Full), convolution(70, kernel, stride, Precision::Binary)];
        let mut random = Random(7);
        let mut model = calibrated(network(size, &wishes), &mut random);
        let LayerWeights::Full(first) = &mut model.weights[0] else { panic!("the first layer is full precision") };
        first.bias.fill(1e4);
        let inputs = channels * kernel * kernel;
        let signs: Vec<f32> = (0..70 * inputs).map(|i| if i / inputs % 2 == 0 { 1.0 } else { -1.0 }).collect();
        model.weights[1] =
            LayerWeights::Binary(BinaryWeights::pack(&signs, inputs, random_scales(70, inputs), vec![0.0; 70]));
        let image = models::image(model.network.input(), &mut random);
        let Quantization { scale, zero_point } = model.quantization.as_ref().unwrap()[0];
        let largest = scale * (255.0 - f32::from(zero_point));
        for kernel in kernels(Mode::Int8) {
            let mut session = session(&model, Mode::Int8, 1, kernel, true);
            run(&mut session, &image);
            assert!(session.layer(0).iter().all(|&value| value == largest));
            check_int8(&model, &image, kernel);
        }
    }
}

/// So many inputs that no kernel sums them in one go, where the last tile of a row may repeat positions of the one before or
/// one or two positions are left over when tables cut the map in lines.
#[test]
fn sums_in_several_goes_are_exact() {
    for (width, height) in [(17, 3), (37, 2), (83, 1), (15, 2), (10, 3)] {
        let wishes = [convolution(300, 1, 1, Precision::Full), convolution(40, 3, 1, Precision::Binary)];
        let mut random = Random(width as u64);
        let model = calibrated(network(InputSize { width, height }, &wishes), &mut random);
        let image = models::image(model.network.input(), &mut random);
        for kernel in kernels(Mode::Int8) {
            check_int8(&model, &image, kernel);
        }
    }
}

/// Channels that fill registers and tiles, and maps of several items, with a last item of any size.
#[test]
fn whole_blocks_of_channels_are_exact() {
    for (width, height) in [(31, 29), (13, 13), (5, 3), (40, 10), (1, 1)] {
        let wishes = [
            convolution(64, 1, 1, Precision::Full),
            depthwise(1),
            convolution(128, 3, 1, Precision::Binary),
            convolution(96, 1, 1, Precision::Binary),
            depthwise(2),
            convolution(72, 3, 1, Precision::Full),
            convolution(33, 3, 2, Precision::Binary),
        ];
        let mut random = Random(width as u64);
        let model = calibrated(network(InputSize { width, height }, &wishes), &mut random);
        let image = models::image(model.network.input(), &mut random);
        for kernel in kernels(Mode::Int8) {
            check_int8(&model, &image, kernel);
        }
        for kernel in kernels(Mode::F32) {
            check_f32(&model, &image, kernel);
        }
    }
}

/// More filters than an item of any kernel holds.
#[test]
fn many_filters_are_exact() {
    let wishes = [
        convolution(26, 1, 1, Precision::Full),
        convolution(1030, 3, 1, Precision::Binary),
        convolution(9, 1, 1, Precision::Binary),
    ];
    let mut random = Random(13);
    let model = calibrated(network(InputSize { width: 7, height: 5 }, &wishes), &mut random);
    let image = models::image(model.network.input(), &mut random);
    for kernel in kernels(Mode::Int8) {
        check_int8(&model, &image, kernel);
    }
    for kernel in kernels(Mode::F32) {
        check_f32(&model, &image, kernel);
    }
}

/// Maps that no second-level cache keeps, positions a whole number of KiB apart, blocks of filters that are no even number.
#[test]
fn maps_larger_than_a_cache_are_exact() {
    let wishes = [
        convolution(1024, 1, 1, Precision::Full),
        convolution(70, 3, 1, Precision::Binary),
        convolution(512, 3, 1, Precision::Binary),
        Wish { from: vec![0], operation: Operation::MaxPool },
        convolution(9, 1, 1, Precision::Binary),
    ];
    let mut random = Random(17);
    let model = calibrated(network(InputSize { width: 46, height: 24 }, &wishes), &mut random);
    let image = models::image(model.network.input(), &mut random);
    check_like_portable(&model, &image);
    check_floats_like_portable(&model, &image);
}

/// A pool behind a convolution may be computed with it. Maps of one tile, of several, of several strips; few channels and
/// many; a pool that is joined with others.
#[test]
fn pooled_convolutions_are_exact() {
    let pool = || Wish { from: vec![0], operation: Operation::MaxPool };
    for (width, height, stride) in [(4, 4, 1), (52, 8, 1), (60, 4, 1), (208, 4, 1), (300, 8, 1), (520, 8, 2)] {
        let wishes = [
            convolution(40, 3, stride, Precision::Full),
            pool(),
            convolution(9, 1, 1, Precision::Binary),
            convolution(136, 3, 1, Precision::Binary),
            convolution(70, 3, 1, Precision::Binary),
            pool(),
            convolution(6, 1, 1, Precision::Binary),
            convolution(33, 3, 1, Precision::Binary),
            Wish { from: vec![0, 2], operation: Operation::Concat },
        ];
        let mut random = Random(width as u64);
        let model = calibrated(network(InputSize { width, height }, &wishes), &mut random);
        let image = models::image(model.network.input(), &mut random);
        check_like_portable(&model, &image);
        check_floats_like_portable(&model, &image);
    }
}

/// A first layer that gives `usual` where the image is black and `rare` at its one white pixel, and two binary ones.
fn one_rare_value(usual: f32, rare: f32) -> (Model, RgbImage) {
    let wishes = [
        convolution(70, 1, 1, Precision::Full),
        convolution(40, 3, 1, Precision::Binary),
        convolution(9, 1, 1, Precision::Binary),
    ];
    let input = InputSize { width: 11, height: 7 };
    let mut model = uncalibrated(network(input, &wishes), &mut Random(23));
    let LayerWeights::Full(first) = &mut model.weights[0] else { panic!("the first layer is full precision") };
    first.weights.chunks_exact_mut(3).for_each(|weights| weights.copy_from_slice(&[rare, 0.0, 0.0]));
    first.bias.fill(usual);
    let mut image = RgbImage::new(11, 7);
    image.put_pixel(3, 4, image::Rgb([255, 255, 255]));
    (model, image)
}

#[test]
fn floats_of_any_size_give_sums_within_their_error() {
    let below_one = f32::from_bits(1.0f32.to_bits() - 1);
    let extremes =
        [(1e-3, 1e6), (1e-30, 1e30), (0.0, 0.0), (-2.0, -3.0), (1e-42, 1e-40), (1e-20, -1.0), (0.0, below_one), (0.5, 1e35)];
    for (usual, rare) in extremes {
        let (model, image) = one_rare_value(usual, rare);
        for kernel in kernels(Mode::F32) {
            check_f32(&model, &image, kernel);
        }
    }
}

/// What is not finite neither stops a kernel nor outlives its frame.
#[test]
fn infinite_floats_pass() {
    let (mut model, image) = one_rare_value(1.0, f32::MAX);
    let LayerWeights::Full(first) = &mut model.weights[0] else { panic!("the first layer is full precision") };
    first.weights[1] = f32::MAX;
    for kernel in kernels(Mode::F32) {
        let mut session = session(&model, Mode::F32, 2, kernel, true);
        run(&mut session, &RgbImage::new(11, 7));
        let black = session.output().to_array();
        assert!(black.iter().all(|x| x.is_finite()));
        run(&mut session, &image);
        assert!(session.layer(0)[(0, 4, 3)] == f32::INFINITY);
        let next = session.layer(1);
        assert!(!next[(0, 4, 3)].is_finite());
        assert!(kernel != "amx-planes" || next.iter().all(|x| x.is_nan()));
        run(&mut session, &RgbImage::new(11, 7));
        assert!(session.output().to_array() == black);
    }
}

/// Scales that spread the filters' sums over the range of a byte.
fn random_scales(filters: usize, inputs: usize) -> Vec<f32> {
    (1..=filters).map(|f| f as f32 / (filters * inputs) as f32).collect()
}

/// A layer joined twice, a concatenation of concatenations, and the image among the joined.
#[test]
fn concatenations_hold_what_they_join() {
    let concat = |from: &[usize]| Wish { from: from.to_vec(), operation: Operation::Concat };
    let wishes = [
        convolution(5, 3, 1, Precision::Full),   // 0
        convolution(7, 3, 1, Precision::Binary), // 1
        concat(&[0, 1]),                         // 2: layers 1, 0
        convolution(3, 1, 1, Precision::Binary), // 3
        concat(&[0, 1, 2, 2]),                   // 4: layers 3, 2, 1, 1
        convolution(9, 3, 1, Precision::Binary), // 5
        concat(&[6, 1, 0]),                      // 6: the image, layers 4, 5
    ];
    let mut random = Random(5);
    let model = calibrated(network(InputSize { width: 9, height: 7 }, &wishes), &mut random);
    assert_eq!(model.network.shapes()[6].channels, 3 + (3 + 12 + 7 + 7) + 9);
    let image = models::image(model.network.input(), &mut random);
    for mode in [Mode::F32, Mode::Int8] {
        for kernel in kernels(mode) {
            match mode {
                Mode::F32 => check_f32(&model, &image, kernel),
                Mode::Int8 => check_int8(&model, &image, kernel),
            }
        }
    }
}

#[test]
fn kept_layers_are_those_of_the_network() {
    let wishes = [convolution(5, 3, 1, Precision::Full), Wish { from: vec![0], operation: Operation::MaxPool }];
    let model = calibrated(network(InputSize { width: 8, height: 6 }, &wishes), &mut Random(1));
    for mode in [Mode::F32, Mode::Int8] {
        let kept = session(&model, mode, 1, "portable", true);
        let shapes: Vec<_> = (0..3).map(|layer| kept.layer(layer).dim()).collect();
        assert_eq!(shapes, [(5, 6, 8), (5, 3, 4), (6, 3, 4)]);
    }
}

#[test]
fn an_activation_range_is_half_as_far_again_as_the_mean_over_the_images() {
    let red = FullWeights { weights: vec![6.5, 0.0, 0.0], inputs: 3, bias: vec![-5.0] };
    let wishes = [convolution(1, 1, 1, Precision::Full)];
    let mut model = uncalibrated(network(InputSize { width: 4, height: 2 }, &wishes), &mut Random(1));
    model.weights[0] = LayerWeights::Full(red);
    // Bright red gives 1.5, black a tenth of −5: with 0 in both, 0 to 1.5 and −0.5 to 0: −0.25 to 0.75 in the mean.
    let [bright, black] = [[255, 0, 0], [0, 7, 9]].map(|rgb| RgbImage::from_pixel(4, 2, image::Rgb(rgb)));
    let q = calibrate(&model, [bright, black]).unwrap()[0];
    let [low, high] = [0.0, 255.0].map(|byte| q.scale * (byte - f32::from(q.zero_point)));
    assert!((low + 0.375).abs() < 0.01 && (high - 1.125).abs() < 0.01, "{low}..{high}");
}

#[test]
fn a_session_can_move_to_another_thread() {
    let wishes = [convolution(5, 3, 1, Precision::Full)];
    let model = uncalibrated(network(InputSize { width: 8, height: 6 }, &wishes), &mut Random(1));
    let mut session = session(&model, Mode::F32, 2, "portable", false);
    session.run();
    let here = session.output().to_array();
    let there = std::thread::spawn(move || {
        session.run();
        session.output().to_array()
    });
    assert_eq!(there.join().unwrap(), here);
}

#[test]
fn the_profile_names_every_layer() {
    let wishes = [convolution(5, 3, 2, Precision::Full), convolution(7, 3, 1, Precision::Binary)];
    let model = uncalibrated(network(InputSize { width: 8, height: 6 }, &wishes), &mut Random(1));
    let mut session = session(&model, Mode::F32, 2, "portable", false);
    session.run();
    let profile = session.profile();
    let names: Vec<_> = profile.iter().map(|layer| layer.name.as_str()).collect();
    assert_eq!(names, ["layer0", "layer1", "prediction"]);
    assert!(profile.iter().all(|layer| layer.kernel == "portable" && layer.nanoseconds > 0));
    assert_eq!(profile[0].macs, 5 * 27 * 12);
    assert_eq!(profile[1].macs, 7 * 45 * 12);
}

#[test]
fn a_model_that_cannot_run_is_told_why() {
    let wishes = [
        convolution(5, 3, 1, Precision::Full),
        convolution(9, 1, 1, Precision::Binary),
        Wish { from: vec![0, 1], operation: Operation::Concat },
    ];
    let good = calibrated(network(InputSize { width: 8, height: 6 }, &wishes), &mut Random(1));
    let options = Options::default();
    let refused = |model: &Model, options: &Options, words: &str| {
        let error = Session::new(model, options).err().expect(words).to_string();
        assert!(error.contains(words), "'{error}' does not say '{words}'");
    };
    let changed = |change: &dyn Fn(&mut Model), words: &str| {
        let mut bad = good.clone();
        change(&mut bad);
        refused(&bad, &options, words);
    };
    assert!(Session::new(&good, &options).is_ok());
    changed(&|m| m.quantization = None, "no activation ranges");
    changed(&|m| m.quantization.as_mut().unwrap().truncate(2), "'activations.scale'");
    changed(&|m| m.quantization.as_mut().unwrap()[1].scale = f32::NAN, "NaN");
    changed(&|m| m.quantization.as_mut().unwrap()[1].scale *= 2.0, "must have the activation range of layer0");
    changed(&|m| m.quantization.as_mut().unwrap()[0].scale = 0.0, "must be a normal number above 0");
    changed(&|m| m.weights.truncate(1), "4 layers, weights of 1");
    changed(&|m| m.weights[1] = LayerWeights::None, "must have binary weights");
    changed(&|m| m.weights[2] = m.weights[1].clone(), "must have no weights");
    changed(&|m| binary(m).bits.truncate(3), "3 bytes of bits, must be 9");
    changed(
        &|m| binary(m).bits = binary(m).bits.iter().map(|byte| byte | 0x80).collect(),
        "the bits after its last weight must be 0",
    );
    changed(&|m| binary(m).scale[3] = f32::INFINITY, "inf");
    changed(&|m| binary(m).scale[3] = 1e30, "layer 1 (layer1): filter 3 could reach");
    refused(&good, &Options { threads: 0, ..options.clone() }, "0 threads");
    refused(
        &good,
        &Options { kernel: Some("magic".into()), ..options.clone() },
        &format!("no kernel 'magic' for int8 mode on this CPU; it can run: {}", kernels(Mode::Int8).join(", ")),
    );
}

fn binary(model: &mut Model) -> &mut BinaryWeights {
    match &mut model.weights[1] {
        LayerWeights::Binary(weights) => weights,
        _ => panic!("layer 1 is binary"),
    }
}

#[test]
fn calibration_is_told_what_is_wrong_with_its_images() {
    let wishes = [convolution(5, 3, 1, Precision::Full)];
    let mut model = uncalibrated(network(InputSize { width: 8, height: 6 }, &wishes), &mut Random(1));
    let error = |model: &Model, images: Vec<RgbImage>| super::calibrate(model, images).unwrap_err();
    assert!(matches!(error(&model, vec![]), EngineError::NoImages));
    let wrong = error(&model, vec![RgbImage::new(8, 6), RgbImage::new(6, 8)]).to_string();
    assert_eq!(wrong, "calibration image 1 has 6x8 pixels, the network reads 8x6");
    let LayerWeights::Full(first) = &mut model.weights[0] else { panic!("the first layer is full precision") };
    first.weights.fill(f32::MAX);
    let infinite = error(&model, vec![RgbImage::from_pixel(8, 6, image::Rgb([255; 3]))]).to_string();
    assert_eq!(infinite, "calibration image 0 makes layer 'layer0' infinite or NaN");
}

/// A calibrated network in int8 mode is near the same network in f32 mode.
#[test]
fn int8_is_near_f32() {
    let wishes = [
        convolution(24, 3, 1, Precision::Full),
        Wish { from: vec![0], operation: Operation::MaxPool },
        convolution(48, 3, 1, Precision::Binary),
        convolution(32, 1, 1, Precision::Binary),
    ];
    let mut random = Random(3);
    let mut model = uncalibrated(network(InputSize { width: 32, height: 32 }, &wishes), &mut random);
    let image = models::image(model.network.input(), &mut random);
    model.quantization = Some(super::calibrate(&model, [&image]).unwrap());
    let [float, int] = [Mode::F32, Mode::Int8].map(|mode| {
        let mut session = session(&model, mode, 1, "portable", false);
        run(&mut session, &image);
        session.output().to_array()
    });
    let signal = float.mapv(|v| v * v).sum();
    let noise = (&float - &int).mapv(|v| v * v).sum();
    assert!(noise < 1e-3 * signal, "noise {noise}, signal {signal}");
}
