//! A picture on which plotters draws. Its letters come from a font that is part of the program, so that no font of the
//! system is needed.

use embedded_graphics::{
    Drawable, Pixel,
    draw_target::DrawTarget,
    geometry::{OriginDimensions, Point, Size},
    mono_font::{MonoFont, MonoTextStyle, ascii::FONT_8X13},
    pixelcolor::{Rgb888, RgbColor},
    text::{Baseline, Text},
};
use image::{Rgb, RgbImage};
use plotters_backend::{
    BackendColor, BackendCoord, BackendStyle, BackendTextStyle, DrawingBackend, DrawingErrorKind,
    text_anchor::{HPos, VPos},
};
use std::convert::Infallible;

/// Only the size counts for plotters: the letters are the surface's own.
pub(crate) const TEXT: (&str, u32) = ("monospace", 13);
const FONT: MonoFont<'_> = FONT_8X13;

pub(crate) struct Surface<'a>(pub(crate) &'a mut RgbImage);

type Result<T> = std::result::Result<T, DrawingErrorKind<Infallible>>;

impl DrawingBackend for Surface<'_> {
    type ErrorType = Infallible;

    fn get_size(&self) -> (u32, u32) {
        self.0.dimensions()
    }

    fn ensure_prepared(&mut self) -> Result<()> {
        Ok(())
    }

    fn present(&mut self) -> Result<()> {
        Ok(())
    }

    fn draw_pixel(&mut self, (x, y): BackendCoord, colour: BackendColor) -> Result<()> {
        let place = u32::try_from(x).ok().zip(u32::try_from(y).ok());
        if let Some(pixel) = place.and_then(|(x, y)| self.0.get_pixel_mut_checked(x, y)) {
            let (r, g, b) = colour.rgb;
            let blend = |old: u8, new: u8| (f64::from(old) + (f64::from(new) - f64::from(old)) * colour.alpha).round() as u8;
            *pixel = Rgb([blend(pixel[0], r), blend(pixel[1], g), blend(pixel[2], b)]);
        }
        Ok(())
    }

    fn draw_text<S: BackendTextStyle>(&mut self, text: &str, style: &S, (x, y): BackendCoord) -> Result<()> {
        let (width, height) = size(text);
        let x = match style.anchor().h_pos {
            HPos::Left => x,
            HPos::Center => x - width / 2,
            HPos::Right => x - width,
        };
        let y = match style.anchor().v_pos {
            VPos::Top => y,
            VPos::Center => y - height / 2,
            VPos::Bottom => y - height,
        };
        let (r, g, b) = style.color().color().rgb;
        let style = MonoTextStyle::new(&FONT, Rgb888::new(r, g, b));
        let Ok(_) = Text::with_baseline(text, Point::new(x, y), style, Baseline::Top).draw(self);
        Ok(())
    }

    fn estimate_text_size<S: BackendTextStyle>(&self, text: &str, _: &S) -> Result<(u32, u32)> {
        let (width, height) = size(text);
        Ok((width as u32, height as u32))
    }
}

fn size(text: &str) -> (i32, i32) {
    let Size { width, height } = FONT.character_size;
    (text.chars().count() as i32 * width as i32, height as i32)
}

impl OriginDimensions for Surface<'_> {
    fn size(&self) -> Size {
        let (width, height) = self.0.dimensions();
        Size::new(width, height)
    }
}

impl DrawTarget for Surface<'_> {
    type Color = Rgb888;
    type Error = Infallible;

    fn draw_iter<I: IntoIterator<Item = Pixel<Rgb888>>>(&mut self, pixels: I) -> std::result::Result<(), Infallible> {
        for Pixel(Point { x, y }, colour) in pixels {
            let colour = BackendColor { alpha: 1.0, rgb: (colour.r(), colour.g(), colour.b()) };
            self.draw_pixel((x, y), colour).expect("pixels outside are left out");
        }
        Ok(())
    }
}
