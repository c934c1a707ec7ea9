//! One frame: a flat road seen by a pinhole camera, and what stands on it.

use super::{
    canvas::{Canvas, Colour, Extent},
    objects::{Kind, shaded},
};
use clap::ValueEnum;
use image::RgbImage;
use onebit_detector::frames::kitti::Label;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::fmt;

/// Size of a frame in pixels.
const WIDTH: usize = 640;
const HEIGHT: usize = 384;
/// The camera: focal length in pixels, row of the horizon, height above the road in metres.
const FOCAL: f32 = 500.0;
const HORIZON: f32 = 170.0;
const CAMERA: f32 = 1.6;
/// Half of the road's width and the pavement's outer edge, in metres from the middle.
const ROAD: f32 = 5.0;
const PAVEMENT: f32 = 8.5;
/// Distance of the nearest and the farthest object in metres.
const NEAR: f32 = 6.0;
const FAR: f32 = 60.0;
/// An object of which less than this share is seen is an ignore region.
const MIN_VISIBLE: f32 = 0.25;

/// Light and weather.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Condition {
    /// Clear sky.
    Day,
    /// Dark, with lamps.
    Night,
    /// Grey, with streaks of rain and a wet road.
    Rain,
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Day => "day",
            Self::Night => "night",
            Self::Rain => "rain",
        })
    }
}

/// A drawn frame and its labels.
pub struct Scene {
    image: RgbImage,
    labels: Vec<Label>,
}

/// An object on the road, in metres: to the right of the camera and in front of it.
struct Placed {
    kind: Kind,
    x: f32,
    z: f32,
    colour: Colour,
}

impl Scene {
    /// The frame number `index` of the set with this seed.
    pub fn random(condition: Condition, seed: u64, index: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(index);
        let mut canvas = Canvas::new(WIDTH, HEIGHT);
        background(&mut canvas, condition, &mut rng);
        let mut objects: Vec<Placed> = (0..rng.random_range(2..=8)).map(|_| Placed::random(&mut rng)).collect();
        objects.sort_by(|a, b| b.z.total_cmp(&a.z)); // the nearer hide the farther
        let whole: Vec<_> =
            objects.iter().zip(1..).map(|(object, owner)| object.draw(&mut canvas, condition, owner)).collect();
        let seen: Vec<_> =
            (1..).map(|owner| canvas.extent(owner).map_or(0, |(_, pixels)| pixels)).take(objects.len()).collect();
        let labels = objects.iter().zip(whole).zip(seen);
        let labels =
            labels.filter_map(|((object, whole), seen)| whole.map(|(extent, drawn)| object.label(extent, drawn, seen)));
        let labels = labels.collect();
        weather(&mut canvas, condition, &mut rng);
        Self { image: canvas.to_image(), labels }
    }

    /// The picture.
    pub fn image(&self) -> &RgbImage {
        &self.image
    }

    /// What is in it, the farthest first: box of all its pixels within the picture, hidden ones too; 3D position.
    pub fn labels(&self) -> &[Label] {
        &self.labels
    }
}

impl Placed {
    fn random(rng: &mut ChaCha8Rng) -> Self {
        let kind = Kind::ALL[rng.random_range(0..Kind::ALL.len())];
        let z = NEAR * (FAR / NEAR).powf(rng.random()); // as many in each doubling of the distance
        let side = if rng.random() { 1.0 } else { -1.0 };
        let x = side
            * match kind {
                Kind::Car => rng.random_range(1.2..ROAD - 1.0),
                Kind::Pedestrian => rng.random_range(1.0..PAVEMENT),
                Kind::Cyclist => rng.random_range(2.0..ROAD),
            };
        Self { kind, x, z, colour: std::array::from_fn(|_| rng.random_range(0.1..0.95)) }
    }

    /// The rectangle of the rear in pixels, possibly beyond the picture: left, top, right, bottom.
    fn rectangle(&self) -> [f32; 4] {
        let [height, width, _] = self.kind.dimensions();
        let scale = FOCAL / self.z;
        let (centre, ground) = (WIDTH as f32 / 2.0 + self.x * scale, HORIZON + CAMERA * scale);
        [centre - width * scale / 2.0, ground - height * scale, centre + width * scale / 2.0, ground]
    }

    /// Draws the object; returns bounds and number of its pixels, or `None` if none lies within the picture.
    fn draw(&self, canvas: &mut Canvas, condition: Condition, owner: u16) -> Option<(Extent, usize)> {
        let [left, _, right, ground] = self.rectangle();
        let thickness = (right - left) * 0.06;
        let shadow = if condition == Condition::Night { 0.03 } else { 0.14 };
        canvas.ellipse([(left + right) / 2.0, ground], [(right - left) * 0.55, thickness], [shadow; 3], 0);
        let light = light(condition, self.z);
        self.kind.draw(canvas, self.rectangle(), shaded(self.colour, light), condition == Condition::Night, owner);
        canvas.extent(owner)
    }

    /// The label of an object with these bounds, of whose `drawn` pixels the nearer objects left `seen`.
    fn label(&self, extent: Extent, drawn: usize, seen: usize) -> Label {
        let [left, top, right, bottom] = self.rectangle();
        let area = |[x1, y1, x2, y2]: [f32; 4]| (x2 - x1) * (y2 - y1);
        let inside = [left.max(0.0), top.max(0.0), right.min(WIDTH as f32), bottom.min(HEIGHT as f32)];
        let truncated = 1.0 - area(inside) / area([left, top, right, bottom]);
        let visible = seen as f32 / drawn as f32;
        let kept = visible * (1.0 - truncated) >= MIN_VISIBLE;
        let hundredths = |value: f32| (f64::from(value) * 100.0).round() / 100.0;
        Label {
            class: if kept { self.kind.name() } else { "DontCare" }.into(),
            truncated: hundredths(truncated.max(0.0)),
            occluded: if visible > 0.9 { 0 } else { 1 + i32::from(visible < 0.5) },
            alpha: -10.0,
            corners: extent.map(|edge| edge as f64),
            dimensions: self.kind.dimensions().map(hundredths),
            location: [self.x, CAMERA, self.z].map(hundredths),
            rotation_y: hundredths(-std::f32::consts::FRAC_PI_2),
            score: None,
        }
    }
}

/// How much of an object's own colour is seen at this distance: at night only what the headlamps reach.
fn light(condition: Condition, z: f32) -> f32 {
    match condition {
        Condition::Day => 1.0,
        Condition::Night => 0.08 + 0.6 * (1.0 - z / 45.0).max(0.0),
        Condition::Rain => 0.75,
    }
}

/// Sky, houses, verge, pavement and road with a dashed middle line.
fn background(canvas: &mut Canvas, condition: Condition, rng: &mut ChaCha8Rng) {
    let (sky, house) = match condition {
        Condition::Day => ([0.5, 0.68, 0.9], 0.55),
        Condition::Night => ([0.02, 0.02, 0.05], 0.05),
        Condition::Rain => ([0.55, 0.57, 0.6], 0.35),
    };
    canvas.paint(|_, y, _| shaded(sky, 1.0 + 0.2 * y as f32 / HORIZON));
    let mut x = 0.0;
    while x < WIDTH as f32 {
        let (width, height) = (rng.random_range(30.0..90.0), rng.random_range(15.0..110.0));
        let shade = house * rng.random_range(0.6..1.3);
        canvas.polygon(&rectangle([x, HORIZON - height, x + width, HORIZON]), [shade, shade * 0.95, shade * 0.88], 0);
        x += width;
    }
    let phase = rng.random_range(0.0..6.0);
    canvas.paint(|x, y, above| {
        let below = y as f32 + 0.5 - HORIZON;
        if below <= 0.0 {
            return above;
        }
        let z = FOCAL * CAMERA / below;
        let metres = (x as f32 + 0.5 - WIDTH as f32 / 2.0) * z / FOCAL;
        let ground = match metres.abs() {
            m if m < 0.08 && (z + phase) % 6.0 < 3.0 => [0.85; 3],
            m if m < ROAD => [0.3; 3],
            m if m < ROAD + 0.2 => [0.62; 3],
            m if m < PAVEMENT => [0.45, 0.44, 0.43],
            _ => [0.25, 0.38, 0.18],
        };
        shaded(ground, light(condition, z))
    });
}

/// Streaks of rain, and noise that is stronger in the dark.
fn weather(canvas: &mut Canvas, condition: Condition, rng: &mut ChaCha8Rng) {
    if condition == Condition::Rain {
        let streaks: Vec<[f32; 3]> = (0..220)
            .map(|_| {
                [rng.random_range(0.0..WIDTH as f32), rng.random_range(0.0..HEIGHT as f32), rng.random_range(8.0..26.0)]
            })
            .collect();
        let mut veil = vec![false; WIDTH * HEIGHT];
        for [x, y, length] in streaks {
            for step in 0..length as usize {
                let (column, row) = (x as usize + step / 5, y as usize + step);
                if column < WIDTH && row < HEIGHT {
                    veil[row * WIDTH + column] = true;
                }
            }
        }
        canvas.paint(|x, y, colour| if veil[y * WIDTH + x] { colour.map(|v| v * 0.6 + 0.32) } else { colour });
    }
    let strength = if condition == Condition::Night { 0.06 } else { 0.03 };
    canvas.paint(|_, _, colour| colour.map(|value| value + strength * rng.random_range(-1.0..1.0)));
}

fn rectangle([x1, y1, x2, y2]: [f32; 4]) -> [[f32; 2]; 4] {
    [[x1, y1], [x2, y1], [x2, y2], [x1, y2]]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boxes_follow_from_the_camera() {
        let car = Placed { kind: Kind::Car, x: 2.0, z: 10.0, colour: [0.5; 3] };
        // 50 pixels a metre: centre 320 + 100, ground 170 + 80, 85 wide, 75 high.
        assert_eq!(car.rectangle(), [377.5, 175.0, 462.5, 250.0]);
        for kind in Kind::ALL {
            let object = Placed { kind, ..car };
            let mut canvas = Canvas::new(WIDTH, HEIGHT);
            let (extent, drawn) = object.draw(&mut canvas, Condition::Day, 1).unwrap();
            for (found, expected) in extent.into_iter().zip(object.rectangle()) {
                assert!((found as f32 - expected).abs() <= 1.0, "{kind:?}: {extent:?} beside {:?}", object.rectangle());
            }
            let label = object.label(extent, drawn, drawn);
            assert_eq!((label.class.as_str(), label.truncated, label.occluded), (kind.name(), 0.0, 0));
            assert_eq!(label.location, [2.0, 1.6, 10.0]);
        }
    }

    #[test]
    fn hidden_and_cut_off_objects_are_told() {
        let car = Placed { kind: Kind::Car, x: 2.0, z: 10.0, colour: [0.5; 3] };
        let label = |seen| car.label([378, 175, 462, 250], 100, seen);
        assert_eq!([100, 89, 49].map(|seen| label(seen).occluded), [0, 1, 2]);
        assert_eq!((label(25).class.as_str(), label(24).class.as_str()), ("Car", "DontCare"));
        // Half of the car lies beyond the right edge: 320 pixels are 6.4 m at this distance.
        let car = Placed { x: 6.4, ..car };
        assert_eq!(car.label([598, 175, 640, 250], 100, 100).truncated, 0.5);
        assert_eq!(car.label([598, 175, 640, 250], 100, 49).class, "DontCare");
    }

    #[test]
    fn conditions_differ_in_light() {
        let mean = |condition| {
            let scene = Scene::random(condition, 3, 0);
            scene.image().iter().map(|v| f64::from(*v)).sum::<f64>() / scene.image().len() as f64
        };
        let [day, night, rain] = [Condition::Day, Condition::Night, Condition::Rain].map(mean);
        assert!(night < 0.3 * day && rain < day && rain > night, "{day} {night} {rain}");
    }
}
