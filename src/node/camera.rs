//! From camera messages to pixels.
//!
//! Encodings that the letterbox reads as they are stay where they are; the others are converted into a buffer that is
//! used again for the next frame.

mod bayer;
mod compressed;
mod yuv;

use crate::detection::{ImageError, ImageView, PixelFormat};
use r2r::{
    sensor_msgs::msg::{CompressedImage, Image},
    std_msgs::msg::Header,
};
use thiserror::Error;

/// A message of the camera.
#[derive(Debug)]
pub(super) enum Frame {
    Raw(Image),
    Compressed(CompressedImage),
}

impl Frame {
    pub(super) fn header(&self) -> &Header {
        match self {
            Self::Raw(image) => &image.header,
            Self::Compressed(image) => &image.header,
        }
    }
}

/// An image message that holds no image, and why.
#[derive(Debug, Error)]
pub(super) enum CameraError {
    /// Size, step and number of bytes do not fit.
    #[error(transparent)]
    Size(#[from] ImageError),
    /// More bytes than rows.
    #[error("{height} rows of {step} bytes are {rows} bytes, the image has {found}")]
    Excess { height: usize, step: usize, rows: usize, found: usize },
    /// The name of the encoding.
    #[error("the image's encoding '{found}' is not among those that can be read: {}", names())]
    Encoding { found: String },
    /// `is_bigendian` is a truth value.
    #[error("the image's is_bigendian is {0}, 0 or 1 is possible")]
    BigEndian(u8),
    /// Two pixels share their colour.
    #[error("an image of encoding '{encoding}' has an even width, this one is {width} pixels wide")]
    OddWidth { encoding: String, width: usize },
    /// No neighbours to take colours from.
    #[error("a bayer image has at least 2x2 pixels, this one has {width}x{height}")]
    NoTile { width: usize, height: usize },
    /// The decoder failed.
    #[error("the compressed image cannot be decoded (JPEG and PNG can): {0}")]
    Decode(#[from] image::ImageError),
    /// Larger than any camera's.
    #[error("the compressed image has {width}x{height} pixels, at most {} are possible", compressed::MAX_PIXELS)]
    TooLarge { width: u32, height: u32 },
    /// Not eight bits per colour.
    #[error("the compressed image's pixels are {found:?}, L8, Rgb8 or Rgba8 are possible")]
    ColorType { found: image::ColorType },
}

/// How to read the bytes of an encoding.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Encoding {
    Direct(PixelFormat),
    Yuv422(yuv::Order),
    Bayer(bayer::Pattern),
}

/// Names as in `sensor_msgs/image_encodings.hpp`; `yuv422` and `yuv422_yuy2` are the older names of `uyvy` and `yuyv`.
const ENCODINGS: [(&str, Encoding); 13] = [
    ("rgb8", Encoding::Direct(PixelFormat::Rgb8)),
    ("bgr8", Encoding::Direct(PixelFormat::Bgr8)),
    ("rgba8", Encoding::Direct(PixelFormat::Rgba8)),
    ("bgra8", Encoding::Direct(PixelFormat::Bgra8)),
    ("mono8", Encoding::Direct(PixelFormat::Mono8)),
    ("uyvy", Encoding::Yuv422(yuv::Order::Uyvy)),
    ("yuv422", Encoding::Yuv422(yuv::Order::Uyvy)),
    ("yuyv", Encoding::Yuv422(yuv::Order::Yuyv)),
    ("yuv422_yuy2", Encoding::Yuv422(yuv::Order::Yuyv)),
    ("bayer_rggb8", Encoding::Bayer(bayer::Pattern { red_row: 0, red_column: 0 })),
    ("bayer_grbg8", Encoding::Bayer(bayer::Pattern { red_row: 0, red_column: 1 })),
    ("bayer_gbrg8", Encoding::Bayer(bayer::Pattern { red_row: 1, red_column: 0 })),
    ("bayer_bggr8", Encoding::Bayer(bayer::Pattern { red_row: 1, red_column: 1 })),
];

fn names() -> String {
    ENCODINGS.map(|(name, _)| name).join(", ")
}

/// Reads camera messages.
#[derive(Debug, Default)]
pub(super) struct Camera {
    pixels: Vec<u8>,
}

impl Camera {
    /// The picture in a message.
    ///
    /// # Errors
    /// If the message's description does not fit its bytes, or is of a kind that cannot be read.
    pub(super) fn view<'a>(&'a mut self, frame: &'a Frame) -> Result<ImageView<'a>, CameraError> {
        match frame {
            Frame::Raw(image) => self.view_raw(image),
            Frame::Compressed(image) => compressed::decode(&image.data, &mut self.pixels),
        }
    }

    fn view_raw<'a>(&'a mut self, image: &'a Image) -> Result<ImageView<'a>, CameraError> {
        // Byte order means nothing where a value is one byte, and drivers fill it in as they like.
        if image.is_bigendian > 1 {
            return Err(CameraError::BigEndian(image.is_bigendian));
        }
        let Some(&(_, encoding)) = ENCODINGS.iter().find(|(name, _)| *name == image.encoding) else {
            return Err(CameraError::Encoding { found: image.encoding.clone() });
        };
        let view = self.pixels(image, encoding)?;
        let (height, step, found) = (image.height as usize, image.step as usize, image.data.len());
        let rows = step.saturating_mul(height);
        if found > rows { Err(CameraError::Excess { height, step, rows, found }) } else { Ok(view) }
    }

    /// The pixels as they stand, or converted.
    fn pixels<'a>(&'a mut self, image: &'a Image, encoding: Encoding) -> Result<ImageView<'a>, CameraError> {
        let (width, height, step) = (image.width as usize, image.height as usize, image.step as usize);
        match encoding {
            Encoding::Direct(format) => return Ok(ImageView::new(&image.data, width, height, step, format)?),
            Encoding::Yuv422(order) => {
                let needed = 2 * width;
                if needed > step {
                    return Err(ImageError::Step { width, step, needed }.into());
                }
                let pairs = ImageView::new(&image.data, needed, height, step, PixelFormat::Mono8)?;
                if width % 2 == 1 {
                    return Err(CameraError::OddWidth { encoding: image.encoding.clone(), width });
                }
                yuv::to_rgb(pairs, order, &mut self.pixels);
            }
            Encoding::Bayer(pattern) => {
                let mosaic = ImageView::new(&image.data, width, height, step, PixelFormat::Mono8)?;
                if width < 2 || height < 2 {
                    return Err(CameraError::NoTile { width, height });
                }
                bayer::demosaic(mosaic, pattern, &mut self.pixels);
            }
        }
        Ok(ImageView::new(&self.pixels, width, height, 3 * width, PixelFormat::Rgb8)?)
    }
}

#[cfg(test)]
mod tests;
