//! `onebit new`: a network with random weights, for sizes and benchmarks.

use anyhow::{Context, Result};
use clap::Args;
use image::{Rgb, RgbImage};
use onebit_detector::{
    engine,
    model_file::{Model, Quantization},
    network::{InputSize, NetworkSpec, Topology},
};
use std::{fs, path::PathBuf};

/// Write a model with random weights, for sizes and benchmarks.
#[derive(Args)]
#[command(after_help = "\
Examples:
  onebit new darknet-yolo -o darknet.safetensors --seed 1
  onebit new mobilenet-yolo -o small.safetensors --seed 1 --width 0.25 --input 640x384 --classes car,pedestrian
  onebit new my_network.yaml -o mine.safetensors --seed 1")]
pub(crate) struct Arguments {
    /// A preset (darknet-yolo, darknet-yolo-64, mobilenet-yolo) or a YAML file
    network: String,
    /// The model file to write
    #[arg(short, long)]
    output: PathBuf,
    /// Seed of the random weights: the same seed gives the same file
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Factor on the number of filters [default: 1, or as in the YAML file]
    #[arg(long)]
    width: Option<f64>,
    /// Size of the input image, WIDTHxHEIGHT [default: 416x416, or as in the YAML file]
    #[arg(long)]
    input: Option<InputSize>,
    /// Names of the classes [default: car,pedestrian,cyclist, or as in the YAML file]
    #[arg(long, value_delimiter = ',')]
    classes: Option<Vec<String>>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let network = arguments.spec()?.build()?;
    let mut model = Model::random(network, arguments.seed);
    model.quantization = Some(calibrate_on_noise(&model)?);
    model.save(&arguments.output)?;
    let bytes = fs::metadata(&arguments.output)?.len();
    println!("{}: {}, {bytes} bytes", arguments.output.display(), model.network.name());
    Ok(())
}

/// Ranges for int8 mode, measured on an image of noise. Its size does not matter to them: a small one is quick.
fn calibrate_on_noise(model: &Model) -> Result<Vec<Quantization>> {
    let mut small = model.clone();
    small.network = model.network.with_input(InputSize { width: 128, height: 128 })?;
    let noise = RgbImage::from_fn(128, 128, |x, y| {
        let hash = (x * 128 + y).wrapping_mul(2_654_435_761).rotate_left(13).wrapping_mul(2_246_822_519);
        Rgb([hash as u8, (hash >> 8) as u8, (hash >> 16) as u8])
    });
    Ok(engine::calibrate(&small, [noise])?)
}

impl Arguments {
    /// The preset or the file, with what the command line changes.
    fn spec(&self) -> Result<NetworkSpec> {
        let mut spec = match self.network.parse::<Topology>() {
            Ok(topology) => NetworkSpec::preset(topology),
            Err(unknown) if !self.network.ends_with(".yaml") && !self.network.ends_with(".yml") => {
                return Err(anyhow::Error::new(unknown).context("NETWORK is neither a preset nor a YAML file"));
            }
            Err(_) => {
                let text = fs::read_to_string(&self.network).with_context(|| self.network.clone())?;
                serde_yaml::from_str(&text).with_context(|| self.network.clone())?
            }
        };
        if let Some(width) = self.width {
            spec.width = width;
        }
        if let Some(input) = self.input {
            spec.input = input;
        }
        if let Some(classes) = &self.classes {
            spec.classes.clone_from(classes);
        }
        Ok(spec)
    }
}
