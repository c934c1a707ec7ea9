//! Boxes drawn into a picture, for people.

use super::Detection;
use embedded_graphics::{
    mono_font::{MonoTextStyle, ascii::FONT_9X15_BOLD},
    pixelcolor::Rgb888,
    prelude::*,
    primitives::{PrimitiveStyle, Rectangle},
    text::{Baseline, Text},
};
use image::{Rgb, RgbImage};
use std::convert::Infallible;

const COLOURS: [Rgb888; 5] = [
    Rgb888::new(255, 80, 80),
    Rgb888::new(80, 200, 255),
    Rgb888::new(255, 210, 74),
    Rgb888::new(123, 255, 106),
    Rgb888::new(224, 123, 255),
];
const LINE: u32 = 2;

/// Draws each box in its class's colour, with the class's name and the score above it.
pub fn annotate(picture: &mut RgbImage, detections: &[Detection], classes: &[String]) {
    let mut canvas = Canvas(picture);
    for detection in detections {
        let colour = COLOURS[detection.class % COLOURS.len()];
        let [x1, y1, x2, y2] = detection.bbox.corners().map(|side| side.round() as i32);
        let frame = Rectangle::with_corners(Point::new(x1, y1), Point::new(x2 - 1, y2 - 1));
        let Ok(()) = frame.into_styled(PrimitiveStyle::with_stroke(colour, LINE)).draw(&mut canvas);

        let name = classes.get(detection.class).map_or("?", String::as_str);
        let style = MonoTextStyle::new(&FONT_9X15_BOLD, colour);
        let height = FONT_9X15_BOLD.character_size.height as i32;
        let above = Point::new(x1.max(0), (y1 - height).max(0));
        let Ok(_) =
            Text::with_baseline(&format!("{name} {:.2}", detection.score), above, style, Baseline::Top).draw(&mut canvas);
    }
}

/// A picture that embedded-graphics draws on; what lies outside is left out.
struct Canvas<'a>(&'a mut RgbImage);

impl OriginDimensions for Canvas<'_> {
    fn size(&self) -> Size {
        Size::new(self.0.width(), self.0.height())
    }
}

impl DrawTarget for Canvas<'_> {
    type Color = Rgb888;
    type Error = Infallible;

    fn draw_iter<I: IntoIterator<Item = Pixel<Rgb888>>>(&mut self, pixels: I) -> Result<(), Infallible> {
        for Pixel(point, colour) in pixels {
            let place = u32::try_from(point.x).ok().zip(u32::try_from(point.y).ok());
            if let Some(pixel) = place.and_then(|(x, y)| self.0.get_pixel_mut_checked(x, y)) {
                *pixel = Rgb([colour.r(), colour.g(), colour.b()]);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detection::BBox;

    #[test]
    fn a_box_is_drawn_on_its_edge_and_nothing_outside_the_picture() {
        let mut picture = RgbImage::new(60, 40);
        let inside = Detection { class: 1, score: 0.5, bbox: BBox::from_corners([10.0, 20.0, 30.0, 35.0]) };
        let beyond = Detection { class: 0, score: 0.5, bbox: BBox::from_corners([40.0, 30.0, 1e6, 1e6]) };
        annotate(&mut picture, &[inside, beyond], &["car".into()]);
        assert_eq!(picture.get_pixel(10, 27).0, [80, 200, 255]);
        assert_eq!(picture.get_pixel(20, 27).0, [0, 0, 0], "the middle stays");
        assert_eq!(picture.get_pixel(45, 30).0, [255, 80, 80]);
    }
}
