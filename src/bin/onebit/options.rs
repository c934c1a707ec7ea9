//! Options that several commands share.

use anyhow::Result;
use clap::{Args, ValueEnum};
use onebit_detector::{
    detection::{Detector, DetectorOptions},
    engine,
    model_file::Model,
};
use std::{path::PathBuf, str::FromStr};

/// How the engine runs.
#[derive(Args)]
pub(crate) struct EngineArguments {
    /// Activations of the network
    #[arg(long, value_enum, default_value_t = Mode::Int8)]
    mode: Mode,
    /// Threads that the network runs on
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    threads: u16,
    /// Kernel by name [default: the quickest on this processor]
    #[arg(long, env = "ONEBIT_KERNEL")]
    kernel: Option<String>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Mode {
    /// Bytes, calibrated when the model was packed
    Int8,
    /// 32-bit floats
    F32,
}

impl EngineArguments {
    pub(crate) fn options(&self) -> engine::Options {
        engine::Options {
            mode: match self.mode {
                Mode::Int8 => engine::Mode::Int8,
                Mode::F32 => engine::Mode::F32,
            },
            threads: usize::from(self.threads),
            kernel: self.kernel.clone(),
            ..engine::Options::default()
        }
    }
}

/// Which model finds what.
#[derive(Args)]
pub(crate) struct DetectorArguments {
    /// The model file
    model: PathBuf,
    /// The lowest score of a box, 0 to 1
    #[arg(long, default_value_t = DetectorOptions::default().score_threshold, value_parser = parse_fraction::<f32>)]
    score: f32,
    /// Of two boxes of one class with a higher IoU, the better one is reported
    #[arg(long, default_value_t = DetectorOptions::default().nms_iou, value_parser = parse_fraction::<f32>)]
    nms_iou: f32,
    /// The largest number of boxes in a picture
    #[arg(long, default_value_t = DetectorOptions::default().max_detections)]
    max_detections: usize,
    #[command(flatten)]
    engine: EngineArguments,
}

impl DetectorArguments {
    pub(crate) fn load(&self) -> Result<Detector> {
        let options = DetectorOptions {
            score_threshold: self.score,
            nms_iou: self.nms_iou,
            max_detections: self.max_detections,
            ..DetectorOptions::default()
        };
        Ok(Model::load_and(&self.model, |model| Detector::new(&model, &self.engine.options(), options))??)
    }
}

/// A number from 0 to 1.
pub(crate) fn parse_fraction<T: FromStr + PartialOrd + From<u8>>(text: &str) -> Result<T, String> {
    let fraction = text.parse().ok().filter(|value| (T::from(0)..=T::from(1)).contains(value));
    fraction.ok_or_else(|| "a number from 0 to 1 is wanted".to_owned())
}
