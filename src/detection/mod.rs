//! From an image to boxes.

mod boxes;
mod image;

pub use boxes::{BBox, Detection};
pub use image::{ImageError, ImageView, PixelFormat};
