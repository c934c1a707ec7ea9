//! Frames and labels: listed once, then decoded and changed into batches, everything from the recipe's seed.

mod augment;
mod dataset;
mod error;
mod formats;
mod image;
mod loader;

pub use augment::{Sample, Sampler};
pub use dataset::{Dataset, Frame, Label};
pub use error::DataError;
pub use image::Picture;
pub use loader::{Batch, Loader};
