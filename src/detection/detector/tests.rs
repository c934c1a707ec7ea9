//! The whole way of a frame, on networks with random weights.

use super::*;
use crate::{
    engine::{Mode, calibrate},
    network::{NetworkSpec, Topology},
};
use image::RgbImage;

const INPUT: (u32, u32) = (96, 64);

fn model() -> Model {
    let mut spec = NetworkSpec::preset(Topology::MobilenetYolo);
    (spec.width, spec.input) = (0.25, "96x64".parse().unwrap());
    let mut model = Model::random(spec.build().unwrap(), 7);
    model.quantization = Some(calibrate(&model, [&picture(INPUT.0, INPUT.1)]).unwrap());
    model
}

fn picture(width: u32, height: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| image::Rgb([(x * 255 / width) as u8, (y * 255 / height) as u8, (x * y) as u8]))
}

fn detector(mode: Mode, options: DetectorOptions) -> Detector {
    Detector::new(&model(), &Options { mode, ..Options::default() }, options).unwrap()
}

fn lenient() -> DetectorOptions {
    DetectorOptions { score_threshold: 0.01, ..DetectorOptions::default() }
}

/// The boxes that the parts give when they are called one by one, with a fresh session.
fn by_parts(mode: Mode, picture: &RgbImage) -> Vec<Detection> {
    let model = model();
    let mut session = Session::new(&model, &Options { mode, ..Options::default() }).unwrap();
    let (drawn, letterbox) =
        Resampler::new(model.network.input(), model.preprocessing).picture(&ImageView::from_rgb(picture).unwrap());
    let mut input = session.input_mut();
    for (y, row) in drawn.as_raw().chunks_exact(3 * INPUT.0 as usize).enumerate() {
        input.write_row(y, row);
    }
    session.run();
    let values = session.output();
    let mut postprocess = Postprocess::new(3, lenient()).unwrap();
    postprocess.run(&model.network, &letterbox, |c, y, x| values.get(c, y, x)).to_vec()
}

#[test]
fn equals_its_parts_whatever_came_before() {
    for mode in [Mode::F32, Mode::Int8] {
        let mut detector = detector(mode, lenient());
        for (width, height) in [INPUT, (300, 90), (90, 300), (300, 90)] {
            let picture = picture(width, height);
            let found = detector.detect(&ImageView::from_rgb(&picture).unwrap()).to_vec();
            assert_eq!(found, by_parts(mode, &picture), "{width}x{height}, {mode}");
            assert!(!found.is_empty(), "the comparison needs boxes");
            for Detection { bbox, .. } in found {
                let [x1, y1, x2, y2] = bbox.corners();
                assert!(x1 >= 0.0 && y1 >= 0.0 && x2 <= width as f32 && y2 <= height as f32, "{bbox:?}");
            }
        }
    }
}

#[test]
fn options_can_change_between_images() {
    let picture = picture(300, 90);
    let view = ImageView::from_rgb(&picture).unwrap();
    let mut detector = detector(Mode::F32, lenient());
    let all = detector.detect(&view).to_vec();
    let middle = all[all.len() / 2].score;
    detector.set_options(DetectorOptions { score_threshold: middle, ..lenient() }).unwrap();
    let fewer = detector.detect(&view);
    assert!(fewer.len() < all.len() && fewer == &all[..fewer.len()]);
    assert!(fewer.iter().all(|found| found.score >= middle));

    let wrong = DetectorOptions { class_thresholds: Some(vec![0.5]), ..lenient() };
    let message = detector.set_options(wrong).unwrap_err().to_string();
    assert_eq!(message, "class_thresholds has 1 values, the model has 3 classes");
}

#[test]
fn a_wrong_option_is_refused_from_the_start() {
    let wrong = DetectorOptions { nms_iou: 2.0, ..lenient() };
    let error = Detector::new(&model(), &Options::default(), wrong).err().unwrap();
    assert_eq!(error.to_string(), "nms_iou is 2, 0 to 1 is possible");
}
