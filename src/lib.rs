//! Object detection for self-driving stacks with one bit per weight.
//!
//! # The way of a frame
//! 1. [`network`] says what a detector is: typed layers, shapes, counts. Everything else is made from this one value.
//! 2. [`model_file`] keeps its weights: one file, bits packed, strictly read.
//! 3. [`engine`] plans the network for the CPU at hand and runs it on bits, without allocating.
//! 4. [`detection`] takes an image in (letterbox), runs the engine and gives boxes back (decoding, non-maximum
//!    suppression) in pixels of the image: the type [`detection::Detector`]. The node, the command line and the
//!    evaluation call this one function, so what is evaluated is what drives.
//! 5. [`frames`] reads images and labels offline, [`evaluation`] measures what the detector finds in them.
//! 6. `node` (feature `ros`) does the same for camera messages and publishes `vision_msgs/Detection2DArray`.
//!
//! [`onnx`] writes a model as an ONNX file for other runtimes. Training lives in the crate `onebit_distill`.

pub mod detection;
pub mod engine;
pub mod evaluation;
pub mod frames;
mod large_pages;
pub mod model_file;
pub mod network;
#[cfg(feature = "ros")]
pub mod node;
pub mod onnx;
