//! Borrowed images: somebody else's bytes, checked once.

use thiserror::Error;

/// Order of the bytes of a pixel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PixelFormat {
    /// Red, green, blue.
    Rgb8,
    /// Blue, green, red.
    Bgr8,
    /// Red, green, blue, alpha (not used).
    Rgba8,
    /// Blue, green, red, alpha (not used).
    Bgra8,
    /// Grey.
    Mono8,
}

impl PixelFormat {
    /// Bytes of a pixel.
    pub fn bytes(self) -> usize {
        match self {
            Self::Rgb8 | Self::Bgr8 => 3,
            Self::Rgba8 | Self::Bgra8 => 4,
            Self::Mono8 => 1,
        }
    }

    /// Where red, green and blue stand within a pixel.
    pub(crate) fn rgb_offsets(self) -> [usize; 3] {
        match self {
            Self::Rgb8 | Self::Rgba8 => [0, 1, 2],
            Self::Bgr8 | Self::Bgra8 => [2, 1, 0],
            Self::Mono8 => [0, 0, 0],
        }
    }
}

/// An image whose size and bytes are known to fit each other.
#[derive(Clone, Copy, Debug)]
pub struct ImageView<'a> {
    data: &'a [u8],
    width: usize,
    height: usize,
    step: usize,
    format: PixelFormat,
}

/// An image whose description does not fit its bytes.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum ImageError {
    /// No pixels.
    #[error("the image is empty: {width}x{height} pixels")]
    Empty {
        /// Columns.
        width: usize,
        /// Rows.
        height: usize,
    },
    /// A row is longer than the distance between rows.
    #[error("a row of {width} pixels takes {needed} bytes, the image's step is {step}")]
    Step {
        /// Columns.
        width: usize,
        /// Bytes between the starts of two rows.
        step: usize,
        /// Bytes of one row.
        needed: usize,
    },
    /// Fewer bytes than the size asks for.
    #[error("{height} rows of {step} bytes take {needed} bytes, the image has {found}")]
    Length {
        /// Rows.
        height: usize,
        /// Bytes between the starts of two rows.
        step: usize,
        /// Bytes that the rows take.
        needed: usize,
        /// Bytes that there are.
        found: usize,
    },
}

impl<'a> ImageView<'a> {
    /// An image in `data`: rows of `width` pixels, `step` bytes from one row's start to the next.
    ///
    /// # Errors
    /// If the size is empty or the bytes do not suffice.
    pub fn new(data: &'a [u8], width: usize, height: usize, step: usize, format: PixelFormat) -> Result<Self, ImageError> {
        if width == 0 || height == 0 {
            return Err(ImageError::Empty { width, height });
        }
        let row = width.saturating_mul(format.bytes());
        if row > step {
            return Err(ImageError::Step { width, step, needed: row });
        }
        let needed = (height - 1).saturating_mul(step).saturating_add(row); // the last row needs no padding
        if data.len() < needed {
            return Err(ImageError::Length { height, step, needed, found: data.len() });
        }
        Ok(Self { data, width, height, step, format })
    }

    /// A decoded picture.
    pub fn from_rgb(image: &'a image::RgbImage) -> Result<Self, ImageError> {
        let (width, height) = (image.width() as usize, image.height() as usize);
        Self::new(image.as_raw(), width, height, 3 * width, PixelFormat::Rgb8)
    }

    /// Columns.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Rows.
    pub fn height(&self) -> usize {
        self.height
    }

    /// Order of the bytes of a pixel.
    pub fn format(&self) -> PixelFormat {
        self.format
    }

    /// The bytes of one row's pixels.
    pub fn row(&self, y: usize) -> &'a [u8] {
        let start = y * self.step;
        &self.data[start..start + self.width * self.format.bytes()]
    }
}
