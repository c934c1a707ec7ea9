//! JPEG and PNG.

use super::CameraError;
use crate::detection::{ImageView, PixelFormat};
use image::{ColorType, ImageDecoder, ImageFormat, ImageReader, error::DecodingError, error::ImageFormatHint};
use std::io::Cursor;

/// Pixels of the largest image that is decoded: a few bytes may announce billions.
pub(super) const MAX_PIXELS: u64 = 1 << 26;

/// Decodes into `pixels`, which is overwritten. What the image is, its own bytes tell, not the message's `format`.
pub(super) fn decode<'a>(data: &[u8], pixels: &'a mut Vec<u8>) -> Result<ImageView<'a>, CameraError> {
    let reader = ImageReader::new(Cursor::new(data)).with_guessed_format().map_err(image::ImageError::IoError)?;
    // The decoder makes up what a cut-off file lacks. Within a picture's data this marker does not occur.
    if reader.format() == Some(ImageFormat::Jpeg) && !data.windows(2).rev().any(|marker| marker == [0xff, 0xd9]) {
        return Err(cut_off().into());
    }
    let decoder = reader.into_decoder()?;
    let (width, height) = decoder.dimensions();
    if u64::from(width) * u64::from(height) > MAX_PIXELS {
        return Err(CameraError::TooLarge { width, height });
    }
    let format = match decoder.color_type() {
        ColorType::L8 => PixelFormat::Mono8,
        ColorType::Rgb8 => PixelFormat::Rgb8,
        ColorType::Rgba8 => PixelFormat::Rgba8,
        found => return Err(CameraError::ColorType { found }),
    };
    let (width, height) = (width as usize, height as usize);
    let step = width * format.bytes();
    pixels.resize(step * height, 0);
    decoder.read_image(pixels)?;
    Ok(ImageView::new(pixels, width, height, step, format)?)
}

fn cut_off() -> image::ImageError {
    let format = ImageFormatHint::Exact(ImageFormat::Jpeg);
    image::ImageError::Decoding(DecodingError::new(format, "cut off: there is no end marker"))
}
