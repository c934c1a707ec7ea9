//! From a frame to a picture for the training graph: enlarged, mirrored, cut, coloured, with the boxes that go with it.

use super::{
    DataError, Dataset, Frame, Label,
    image::{Picture, Rect},
};
use crate::recipe::{Augmentation, Recipe};
use nalgebra::{Matrix3, Point2, Vector2};
use onebit_detector::{
    detection::{BBox, ImageView, Resampler},
    frames::images,
    model_file::Preprocessing,
    network::InputSize,
};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// A picture and what is in it, in pixels of the picture.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// The picture.
    pub picture: Picture,
    /// Objects and ignore regions, cut at its border.
    pub labels: Vec<Label>,
    /// Where it shows frames of unlabelled sets, what lies beside them in their part of a mosaic included.
    pub unlabelled: Vec<BBox>,
}

/// Makes pictures from the frames of a data set.
#[derive(Clone, Debug)]
pub struct Sampler {
    dataset: Dataset,
    augmentation: Augmentation,
    input: InputSize,
    windows: Vec<InputSize>,
}

/// A frame's part in a picture, all chance drawn.
struct Part<'a> {
    frame: &'a Frame,
    /// From pixels of the frame to pixels of the picture.
    map: Matrix3<f32>,
    /// Where the picture shows it.
    rect: Rect,
    /// Hue, saturation and exposure.
    colour: [f32; 3],
}

impl Sampler {
    /// A sampler of `dataset` with the recipe's windows and augmentation.
    pub fn new(dataset: Dataset, recipe: &Recipe) -> Self {
        Self { dataset, augmentation: recipe.augmentation.clone(), input: recipe.network.input, windows: recipe.windows() }
    }

    /// The same with the frames of labelled sets alone.
    pub fn labelled(&self) -> Self {
        let mut sampler = self.clone();
        let Dataset { frames, epoch, .. } = &mut sampler.dataset;
        epoch.retain(|frame| !frames[*frame].unlabelled);
        sampler
    }

    /// The sizes that a training picture can have.
    pub fn windows(&self) -> &[InputSize] {
        &self.windows
    }

    /// The frames.
    pub fn dataset(&self) -> &Dataset {
        &self.dataset
    }

    /// The frame as the detector sees it: its own letterbox, nothing else changed.
    ///
    /// # Errors
    /// If the image cannot be decoded; names the file.
    pub fn plain(&self, frame: usize) -> Result<Sample, DataError> {
        let frame = &self.dataset.frames[frame];
        let image = images::decode(&frame.image)?;
        let view = ImageView::from_rgb(&image).expect("a decoded image has pixels");
        let (picture, place) = Resampler::new(self.input, Preprocessing::default()).picture(&view);
        let labels = frame.labels.iter().map(|label| Label { bbox: place.to_input(label.bbox), ..*label });
        let picture = Picture::from_rgb(&picture);
        let unlabelled = frame.unlabelled.then(|| Rect::all(self.input).bbox()).into_iter().collect();
        Ok(Sample { picture, labels: labels.collect(), unlabelled })
    }

    /// A picture of the window's size for training. Everything left to chance follows from `seed`.
    ///
    /// # Errors
    /// If an image cannot be decoded; names the file.
    pub fn augmented(&self, frame: usize, window: InputSize, seed: u64) -> Result<Sample, DataError> {
        let mut sample = Sample { picture: Picture::grey(window), labels: Vec::new(), unlabelled: Vec::new() };
        for part in self.parts(frame, window, seed) {
            sample.picture.draw(&images::decode(&part.frame.image)?, &part.map, part.rect);
            let [hue, saturation, exposure] = part.colour;
            sample.picture.recolour(hue, saturation, exposure, part.rect);
            sample.labels.extend(self.seen(&part));
            sample.unlabelled.extend(part.frame.unlabelled.then(|| part.rect.bbox()));
        }
        Ok(sample)
    }

    /// The labels of that picture; the images are not opened.
    pub fn augmented_labels(&self, frame: usize, window: InputSize, seed: u64) -> Vec<Label> {
        self.parts(frame, window, seed).iter().flat_map(|part| self.seen(part)).collect()
    }

    /// What a picture is made of: one frame, or four for a mosaic.
    fn parts(&self, frame: usize, window: InputSize, seed: u64) -> Vec<Part<'_>> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mosaic = rng.random_bool(self.augmentation.mosaic.into());
        let rects = if mosaic { quarters(&mut rng, window) } else { vec![Rect::all(window)] };
        let part = |(index, rect)| {
            let other = self.dataset.epoch[rng.random_range(0..self.dataset.epoch.len())];
            let frame = &self.dataset.frames[if index == 0 { frame } else { other }];
            let map = self.random_map(&mut rng, frame, rect);
            Part { frame, map, rect, colour: self.random_colour(&mut rng) }
        };
        rects.into_iter().enumerate().map(part).collect()
    }

    /// The labels of a part, cut at its border.
    fn seen(&self, part: &Part<'_>) -> Vec<Label> {
        part.frame.labels.iter().filter_map(|label| self.cut(label, &part.map, part.rect)).collect()
    }

    /// A label as the picture shows it, or `None` if it does not.
    fn cut(&self, label: &Label, map: &Matrix3<f32>, rect: Rect) -> Option<Label> {
        let whole = transformed(&label.bbox, map);
        let seen = BBox::from_corners(rect.clip(whole.corners()));
        if seen.w <= 0.0 || seen.h <= 0.0 {
            return None;
        }
        let small = seen.w.min(seen.h) < self.augmentation.min_size;
        let hidden = seen.area() < self.augmentation.min_visible * whole.area();
        Some(Label { bbox: seen, class: label.class.filter(|_| !small && !hidden), weight: label.weight })
    }

    /// Where the frame lies in the picture: enlarged and perhaps mirrored by chance, and shifted so that the rectangle
    /// shows a part of it by chance, or one that holds an object.
    fn random_map(&self, rng: &mut ChaCha8Rng, frame: &Frame, rect: Rect) -> Matrix3<f32> {
        let [low, high] = frame.scale.unwrap_or(self.augmentation.scale);
        let enlargement = low * (high / low).powf(rng.random());
        let stretch = (1.0 + self.augmentation.jitter).powf(rng.random_range(-1.0..=1.0)).sqrt();
        let [w, h] = scene(frame).map(|side| side * fit(scene(frame), self.input) * enlargement);
        let size = [w * stretch, h / stretch];
        let mirrored = rng.random_bool(self.augmentation.flip.into());

        let unplaced = placement(frame.size, size, [0.0, 0.0], mirrored);
        let target = self.random_object(rng, frame).map(|bbox| transformed(&bbox, &unplaced));
        let sides = [(rect.x0, rect.x1), (rect.y0, rect.y1)].map(|(a, b)| (a as f32, b as f32));
        let centre = target.map(|b| [b.cx, b.cy]);
        let shift = [0, 1].map(|axis| random_shift(rng, sides[axis], size[axis], centre.map(|c| c[axis])));
        placement(frame.size, size, shift, mirrored)
    }

    /// With the probability `focus` an object of the frame; first its class is drawn, then one of this class.
    fn random_object(&self, rng: &mut ChaCha8Rng, frame: &Frame) -> Option<BBox> {
        let mut classes: Vec<usize> = frame.objects().collect();
        classes.sort_unstable();
        classes.dedup();
        if !rng.random_bool(self.augmentation.focus.into()) || classes.is_empty() {
            return None;
        }
        let class = classes[rng.random_range(0..classes.len())];
        let boxes: Vec<_> = frame.labels.iter().filter(|l| l.class == Some(class)).map(|l| l.bbox).collect();
        Some(boxes[rng.random_range(0..boxes.len())])
    }

    fn random_colour(&self, rng: &mut ChaCha8Rng) -> [f32; 3] {
        let Augmentation { hue, saturation, exposure, .. } = self.augmentation;
        let mut factor = |largest: f32| largest.powf(rng.random_range(-1.0..=1.0));
        let [saturation, exposure] = [factor(saturation), factor(exposure)];
        [rng.random_range(-hue..=hue), saturation, exposure]
    }
}

impl Rect {
    pub(super) fn all(size: InputSize) -> Self {
        Self { x0: 0, y0: 0, x1: size.width, y1: size.height }
    }

    fn bbox(self) -> BBox {
        BBox::from_corners([self.x0, self.y0, self.x1, self.y1].map(|edge| edge as f32))
    }

    fn clip(self, [left, top, right, bottom]: [f32; 4]) -> [f32; 4] {
        let (x0, y0, x1, y1) = (self.x0 as f32, self.y0 as f32, self.x1 as f32, self.y1 as f32);
        [left.clamp(x0, x1), top.clamp(y0, y1), right.clamp(x0, x1), bottom.clamp(y0, y1)]
    }
}

/// Width and height of the scene: the image's own, widened where the file was squeezed.
fn scene(frame: &Frame) -> [f32; 2] {
    let [width, height] = frame.size.map(|side| side as f32);
    [frame.aspect.map_or(width, |aspect| aspect * height), height]
}

/// The factor with which the scene just fits into the input.
pub(super) fn fit([width, height]: [f32; 2], input: InputSize) -> f32 {
    (input.width as f32 / width).min(input.height as f32 / height)
}

/// The map that takes an image of `from` pixels to a rectangle of this size whose upper left corner is `shift`.
fn placement(from: [u32; 2], size: [f32; 2], shift: [f32; 2], mirrored: bool) -> Matrix3<f32> {
    let scale = Vector2::new(size[0] / from[0] as f32, size[1] / from[1] as f32);
    let scaled = Matrix3::new_nonuniform_scaling(&scale);
    let turned = if mirrored { Matrix3::new(-1.0, 0.0, size[0], 0.0, 1.0, 0.0, 0.0, 0.0, 1.0) } else { Matrix3::identity() };
    Matrix3::new_translation(&shift.into()) * turned * scaled
}

/// Where a frame of length `size` starts on one axis so that the window `from..to` lies within it, or it within the window
/// where it is smaller; with `centre` (a point of the frame), so that the window shows this point too.
fn random_shift(rng: &mut ChaCha8Rng, (from, to): (f32, f32), size: f32, centre: Option<f32>) -> f32 {
    let (one, other) = (from, to - size);
    let (mut low, mut high) = (one.min(other), one.max(other));
    if let Some(centre) = centre {
        let shown = (from - centre, to - centre);
        (low, high) = (low.max(shown.0), high.min(shown.1));
    }
    // An object at the frame's edge leaves no choice; rounding can turn the bounds around.
    if low < high { rng.random_range(low..high) } else { low.min(high) }
}

/// Two quarters above two others, the cut anywhere in the middle third.
fn quarters(rng: &mut ChaCha8Rng, size: InputSize) -> Vec<Rect> {
    let mut cut = |side: usize| rng.random_range(side / 3..=side - side / 3);
    let (x, y) = (cut(size.width), cut(size.height));
    let Rect { x1, y1, .. } = Rect::all(size);
    vec![
        Rect { x0: 0, y0: 0, x1: x, y1: y },
        Rect { x0: x, y0: 0, x1, y1: y },
        Rect { x0: 0, y0: y, x1: x, y1 },
        Rect { x0: x, y0: y, x1, y1 },
    ]
}

/// The box around a box's image.
fn transformed(bbox: &BBox, map: &Matrix3<f32>) -> BBox {
    let [x1, y1, x2, y2] = bbox.corners();
    let corners = [(x1, y1), (x2, y1), (x1, y2), (x2, y2)].map(|(x, y)| map.transform_point(&Point2::new(x, y)));
    let least = |values: [f32; 4]| values.into_iter().fold(f32::INFINITY, f32::min);
    let most = |values: [f32; 4]| values.into_iter().fold(f32::NEG_INFINITY, f32::max);
    let (x, y) = (corners.map(|p| p.x), corners.map(|p| p.y));
    BBox::from_corners([least(x), least(y), most(x), most(y)])
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::{Rgb, RgbImage};
    use proptest::prelude::*;
    use std::path::Path;

    const WINDOW: InputSize = InputSize { width: 96, height: 64 };
    const OBJECT: [u32; 4] = [40, 24, 80, 56];

    /// A sampler of one dark frame of 120x80 pixels with a white object, which is labelled; no colour is changed.
    fn sampler(folder: &Path, mosaic: bool) -> Sampler {
        let [left, top, right, bottom] = OBJECT;
        let inside = |x, y| (left..right).contains(&x) && (top..bottom).contains(&y);
        let image = RgbImage::from_fn(120, 80, |x, y| Rgb([if inside(x, y) { 255 } else { 0 }; 3]));
        image.save(folder.join("frame.png")).unwrap();
        let yaml = format!(
            "{{network: {{topology: darknet-yolo, width: 0.125, input: 128x96}}, window: 96x64, data: {{train: [], classes: \
             {{}}}}, augmentation: {{scale: [0.7, 2.5], saturation: 1, exposure: 1, hue: 0, focus: 1, mosaic: {}, min_size: 0, \
             min_visible: 0}}, stages: []}}",
            u8::from(mosaic)
        );
        let bbox = BBox::from_corners(OBJECT.map(|edge| edge as f32));
        let label = Label { bbox, class: Some(0), weight: 1.0 };
        let frame = Frame {
            image: folder.join("frame.png"),
            size: [120, 80],
            labels: vec![label],
            unlabelled: false,
            aspect: None,
            scale: None,
        };
        let recipe: Recipe = serde_yaml::from_str(&yaml).unwrap();
        Sampler::new(Dataset { frames: vec![frame], epoch: vec![0], broken: 0 }, &recipe)
    }

    /// The box around the white pixels of the part of a picture.
    fn white(picture: &Picture, rect: Rect) -> BBox {
        let mut corners = [f32::INFINITY, f32::INFINITY, 0.0, 0.0];
        for y in rect.y0..rect.y1 {
            for x in rect.x0..rect.x1 {
                if picture.values[y * picture.size.width + x] > 0.75 {
                    let (x, y) = (x as f32, y as f32);
                    let [x1, y1, x2, y2] = corners;
                    corners = [x1.min(x), y1.min(y), x2.max(x + 1.0), y2.max(y + 1.0)];
                }
            }
        }
        BBox::from_corners(corners)
    }

    fn assert_near(a: BBox, b: BBox) {
        for (a, b) in a.corners().into_iter().zip(b.corners()) {
            assert!((a - b).abs() <= 1.5, "{a} beside {b}");
        }
    }

    #[test]
    fn a_plain_sample_is_the_letterbox() {
        let folder = tempfile::tempdir().unwrap();
        let sample = sampler(folder.path(), false).plain(0).unwrap();
        // 120x80 fits into 128x96 at a scale of 128/120: 128x85 pixels, 5 rows of grey above.
        assert_near(sample.labels[0].bbox, BBox::from_corners([42.7, 30.5, 85.3, 64.5]));
        assert_near(white(&sample.picture, Rect::all(sample.picture.size)), sample.labels[0].bbox);
        assert_eq!(sample.picture.values[0], 128.0 / 255.0);
    }

    #[test]
    fn a_set_of_squeezed_images_is_widened() {
        let folder = tempfile::tempdir().unwrap();
        let mut sampler = sampler(folder.path(), false);
        sampler.dataset.frames[0].aspect = Some(3.0);
        sampler.augmentation = Augmentation { jitter: 0.0, scale: [1.0; 2], ..sampler.augmentation };
        let BBox { w, h, .. } = sampler.augmented(0, WINDOW, 1).unwrap().labels[0].bbox;
        // 40x32 pixels of a 120x80 image, whose scene is 240x80.
        assert!((w / h - 2.0 * 40.0 / 32.0).abs() < 1e-3, "{w}x{h}");
    }

    #[test]
    fn cut_off_and_tiny_objects_are_ignored() {
        let folder = tempfile::tempdir().unwrap();
        let mut sampler = sampler(folder.path(), false);
        let rect = Rect { x0: 0, y0: 0, x1: 10, y1: 10 };
        let cut = |sampler: &Sampler, corners| {
            let label = Label { bbox: BBox::from_corners(corners), class: Some(0), weight: 1.0 };
            sampler.cut(&label, &Matrix3::identity(), rect)
        };
        sampler.augmentation = Augmentation { min_size: 3.0, min_visible: 0.5, ..sampler.augmentation };
        assert_eq!(cut(&sampler, [8.0, 0.0, 12.0, 4.0]).unwrap().class, None, "2 pixels wide");
        assert_eq!(cut(&sampler, [-5.0, 0.0, 4.0, 4.0]).unwrap().class, None, "4 of 9 columns seen");
        assert_eq!(cut(&sampler, [-4.0, 0.0, 5.0, 4.0]).unwrap().class, Some(0), "5 of 9 columns seen");
        assert_eq!(cut(&sampler, [11.0, 0.0, 15.0, 4.0]), None, "outside");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]

        #[test]
        fn boxes_lie_on_what_they_label(seed: u64) {
            let folder = tempfile::tempdir().unwrap();
            let sampler = sampler(folder.path(), false);
            let sample = sampler.augmented(0, WINDOW, seed).unwrap();
            prop_assert_eq!(sample.labels.len(), 1, "the window is placed on the object");
            assert_near(white(&sample.picture, Rect::all(sample.picture.size)), sample.labels[0].bbox);
            prop_assert_eq!(&sampler.augmented_labels(0, WINDOW, seed), &sample.labels);
            prop_assert_eq!(sampler.augmented(0, WINDOW, seed).unwrap(), sample, "all chance comes from the seed");
        }

        #[test]
        fn parts_of_unlabelled_frames_are_known(seed: u64) {
            let folder = tempfile::tempdir().unwrap();
            for mosaic in [false, true] {
                let mut sampler = sampler(folder.path(), mosaic);
                let Dataset { frames, epoch, .. } = &mut sampler.dataset;
                frames.push(Frame { labels: Vec::new(), unlabelled: true, ..frames[0].clone() });
                epoch.push(1);
                let Sample { labels, unlabelled, .. } = sampler.augmented(1, WINDOW, seed).unwrap();
                prop_assert_eq!(labels.len() + unlabelled.len(), if mosaic { 4 } else { 1 });
                prop_assert!(labels.iter().all(|label| unlabelled.iter().all(|part| part.intersection(&label.bbox) < 0.1)));
                let whole = Rect::all(WINDOW).bbox();
                prop_assert!(unlabelled.iter().all(|part| part.intersection(&whole) == part.area()));
                if !mosaic || labels.is_empty() {
                    prop_assert_eq!(unlabelled.iter().map(BBox::area).sum::<f32>(), whole.area());
                }
            }
        }

        #[test]
        fn boxes_of_a_mosaic_lie_within_their_part(seed: u64) {
            let folder = tempfile::tempdir().unwrap();
            let sample = sampler(folder.path(), true).augmented(0, WINDOW, seed).unwrap();
            prop_assert_eq!(sample.labels.len(), 4);
            for label in &sample.labels {
                let [x0, y0, x1, y1] = label.bbox.corners();
                let rect = Rect { x0: x0.floor() as usize, y0: y0.floor() as usize, x1: x1.ceil() as usize, y1: y1.ceil() as usize };
                assert_near(white(&sample.picture, rect), label.bbox);
            }
        }
    }
}
