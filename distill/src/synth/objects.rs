//! What stands on the road: its size in metres and its shapes.

use super::canvas::{Canvas, Colour};

/// The kinds of object, each labelled with KITTI's name for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Car,
    Pedestrian,
    Cyclist,
}

impl Kind {
    pub(super) const ALL: [Self; 3] = [Self::Car, Self::Pedestrian, Self::Cyclist];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Car => "Car",
            Self::Pedestrian => "Pedestrian",
            Self::Cyclist => "Cyclist",
        }
    }

    /// Height, width and length in metres.
    pub(super) fn dimensions(self) -> [f32; 3] {
        match self {
            Self::Car => [1.5, 1.7, 4.0],
            Self::Pedestrian => [1.75, 0.6, 0.5],
            Self::Cyclist => [1.75, 0.6, 1.8],
        }
    }

    /// Draws the object, seen from behind, into a rectangle of the canvas: left, top, right, bottom. Whatever its shapes,
    /// they reach all four sides.
    pub(super) fn draw(self, canvas: &mut Canvas, rectangle: [f32; 4], colour: Colour, lamps: bool, owner: u16) {
        let mut shapes = Shapes { canvas, rectangle, owner };
        match self {
            Self::Car => shapes.car(colour, lamps),
            Self::Pedestrian => shapes.pedestrian(colour),
            Self::Cyclist => shapes.cyclist(colour, lamps),
        }
    }
}

const SKIN: Colour = [0.75, 0.58, 0.47];
const DARK: Colour = [0.07, 0.07, 0.08];

/// Shapes in shares of a rectangle: (0, 0) is its upper left corner, (1, 1) its lower right one.
struct Shapes<'a> {
    canvas: &'a mut Canvas,
    rectangle: [f32; 4],
    owner: u16,
}

impl Shapes<'_> {
    fn at(&self, [x, y]: [f32; 2]) -> [f32; 2] {
        let [left, top, right, bottom] = self.rectangle;
        [left + x * (right - left), top + y * (bottom - top)]
    }

    fn polygon(&mut self, corners: &[[f32; 2]], colour: Colour) {
        let corners: Vec<_> = corners.iter().map(|corner| self.at(*corner)).collect();
        self.canvas.polygon(&corners, colour, self.owner);
    }

    fn block(&mut self, [x1, y1, x2, y2]: [f32; 4], colour: Colour) {
        self.polygon(&[[x1, y1], [x2, y1], [x2, y2], [x1, y2]], colour);
    }

    fn ellipse(&mut self, centre: [f32; 2], radii: [f32; 2], colour: Colour) {
        let [left, top, right, bottom] = self.rectangle;
        let radii = [radii[0] * (right - left), radii[1] * (bottom - top)];
        self.canvas.ellipse(self.at(centre), radii, colour, self.owner);
    }

    fn car(&mut self, colour: Colour, lamps: bool) {
        self.block([0.06, 0.8, 0.24, 1.0], DARK); // wheels
        self.block([0.76, 0.8, 0.94, 1.0], DARK);
        self.polygon(&[[0.2, 0.0], [0.8, 0.0], [0.95, 0.42], [0.05, 0.42]], shaded(colour, 0.8));
        self.polygon(&[[0.24, 0.07], [0.76, 0.07], [0.87, 0.38], [0.13, 0.38]], [0.15, 0.18, 0.22]);
        self.block([0.0, 0.4, 1.0, 0.66], colour);
        self.block([0.0, 0.66, 1.0, 0.88], shaded(colour, 0.7));
        self.block([0.36, 0.68, 0.64, 0.78], [0.8, 0.8, 0.75]); // number plate
        let lamp = if lamps { [1.0, 0.15, 0.1] } else { [0.55, 0.08, 0.08] };
        self.block([0.02, 0.46, 0.16, 0.58], lamp);
        self.block([0.84, 0.46, 0.98, 0.58], lamp);
    }

    fn pedestrian(&mut self, colour: Colour) {
        self.block([0.24, 0.52, 0.46, 1.0], shaded(colour, 0.35)); // legs
        self.block([0.54, 0.52, 0.76, 1.0], shaded(colour, 0.4));
        self.block([0.0, 0.2, 1.0, 0.26], colour); // shoulders
        self.block([0.0, 0.2, 0.18, 0.56], shaded(colour, 0.8)); // arms
        self.block([0.82, 0.2, 1.0, 0.56], shaded(colour, 0.8));
        self.block([0.18, 0.2, 0.82, 0.58], colour);
        self.head();
    }

    fn cyclist(&mut self, colour: Colour, lamps: bool) {
        self.ellipse([0.5, 0.8], [0.12, 0.2], DARK); // the wheel, seen from behind
        self.block([0.25, 0.5, 0.42, 0.86], shaded(colour, 0.35)); // legs
        self.block([0.58, 0.5, 0.75, 0.8], shaded(colour, 0.4));
        self.block([0.0, 0.4, 1.0, 0.44], DARK); // handlebar
        self.block([0.06, 0.2, 0.2, 0.42], shaded(colour, 0.8)); // arms
        self.block([0.8, 0.2, 0.94, 0.42], shaded(colour, 0.8));
        self.block([0.18, 0.18, 0.82, 0.56], colour);
        self.block([0.44, 0.62, 0.56, 0.67], if lamps { [1.0, 0.2, 0.15] } else { [0.5, 0.1, 0.1] });
        self.head();
    }

    fn head(&mut self) {
        self.ellipse([0.5, 0.1], [0.28, 0.1], SKIN);
        self.block([0.28, 0.0, 0.72, 0.06], [0.2, 0.14, 0.1]); // hair
    }
}

pub(super) fn shaded(colour: Colour, factor: f32) -> Colour {
    colour.map(|value| value * factor)
}
