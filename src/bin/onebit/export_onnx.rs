//! `onebit export-onnx`: the same network for other runtimes.

use anyhow::{Context, Result};
use clap::Args;
use onebit_detector::{model_file::Model, onnx};
use std::{fs, path::PathBuf};

/// Write a model as an ONNX file (weights as ±α, four bytes each) for other runtimes.
#[derive(Args)]
#[command(after_help = "\
The input is 'image' [1, 3, height, width], float32, red green blue, 0 to 1, letterboxed.

Example:
  onebit export-onnx models/demo.safetensors -o demo.onnx")]
pub(crate) struct Arguments {
    /// The model file
    model: PathBuf,
    /// The ONNX file to write
    #[arg(short, long)]
    output: PathBuf,
    /// Make every layer an output, not only the last one
    #[arg(long)]
    all_layers: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let model = Model::load(&arguments.model)?;
    let outputs = if arguments.all_layers { onnx::Outputs::EveryLayer } else { onnx::Outputs::Last };
    let bytes = onnx::export(&model, outputs)?;
    fs::write(&arguments.output, &bytes).with_context(|| arguments.output.display().to_string())?;
    println!("{}: {} bytes", arguments.output.display(), bytes.len());
    Ok(())
}
