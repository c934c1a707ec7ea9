//! From an image to boxes.
//!
//! [`Resampler`] draws the image into the network's input (a [`Letterbox`] says where), the engine runs, [`Postprocess`]
//! decodes the network's output by its head, carries the boxes back into pixels of the image and suppresses all but the
//! best of those that lie on each other. [`Detector`] is all of it.

mod annotate;
mod boxes;
mod detector;
mod heads;
mod image;
mod letterbox;
pub mod nms;
mod postprocess;
mod resample;

pub use annotate::annotate;
pub use boxes::{BBox, Detection};
pub use detector::{Detector, DetectorError, Timings};
pub use image::{ImageError, ImageView, PixelFormat};
pub use letterbox::Letterbox;
pub use postprocess::{DetectorOptions, OptionError, Postprocess};
pub use resample::Resampler;
