//! `onebit inspect`: what is in a model file.

use anyhow::{Context, Result};
use clap::Args;
use onebit_detector::{
    model_file::{Model, Provenance},
    network::{Counts, Operation, Precision},
};
use serde::Serialize;
use std::{fs, path::PathBuf};

/// Show what is in a model file: layers, counts, provenance, checksum.
#[derive(Args)]
#[command(after_help = "Example:\n  onebit inspect models/demo.safetensors --json")]
pub(crate) struct Arguments {
    /// The model file
    model: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What `--json` prints.
#[derive(Serialize)]
struct Inspection {
    network: String,
    input: String,
    classes: Vec<String>,
    /// Numbers of the full-precision network.
    parameters: u64,
    /// For one image, two for each weight and position.
    operations: u64,
    file_bytes: u64,
    sha256: String,
    int8: bool,
    provenance: Provenance,
    layers: Vec<LayerInspection>,
}

#[derive(Serialize)]
struct LayerInspection {
    name: String,
    operation: String,
    /// `[channels, height, width]`.
    output: [usize; 3],
    #[serde(flatten)]
    counts: Counts,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let model = Model::load(&arguments.model)?;
    let file_bytes = fs::metadata(&arguments.model).with_context(|| arguments.model.display().to_string())?.len();
    let inspection = Inspection::new(&model, file_bytes, model.hash()?);
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&inspection)?);
    } else {
        inspection.print();
    }
    Ok(())
}

impl Inspection {
    fn new(model: &Model, file_bytes: u64, sha256: String) -> Self {
        let network = &model.network;
        let layers =
            network.layers().iter().zip(network.shapes()).enumerate().map(|(index, (layer, shape))| LayerInspection {
                name: layer.name.clone(),
                operation: describe(&layer.operation),
                output: [shape.channels, shape.height, shape.width],
                counts: network.layer_counts(index),
            });
        let Counts { parameters, operations, .. } = network.counts();
        Self {
            network: network.name().to_owned(),
            input: network.input().to_string(),
            classes: network.classes().to_vec(),
            parameters,
            operations,
            file_bytes,
            sha256,
            int8: model.quantization.is_some(),
            provenance: model.provenance.clone(),
            layers: layers.collect(),
        }
    }

    fn print(&self) {
        println!("network     {}, input {}", self.network, self.input);
        println!("classes     {}", self.classes.join(", "));
        println!("parameters  {}", self.parameters);
        println!("operations  {} ({:.2} G for one image)", self.operations, self.operations as f64 / 1e9);
        let ratio = 4.0 * self.parameters as f64 / self.file_bytes as f64;
        println!("file        {} bytes, 1/{ratio:.1} of the full-precision network", self.file_bytes);
        println!("int8        {}", if self.int8 { "calibrated" } else { "not calibrated, f32 only" });
        println!("sha256      {}", self.sha256);
        self.print_provenance();
        println!("\n{:<14}{:<24}{:>16}{:>12}{:>10}{:>12}", "layer", "operation", "output", "parameters", "MOP", "bytes");
        for layer in &self.layers {
            let [c, h, w] = layer.output;
            let Counts { parameters, operations, packed_bytes } = layer.counts;
            let mega = operations as f64 / 1e6;
            let (name, operation, output) = (&layer.name, &layer.operation, format!("{c}x{h}x{w}"));
            println!("{name:<14}{operation:<24}{output:>16}{parameters:>12}{mega:>10.1}{packed_bytes:>12}");
        }
    }

    fn print_provenance(&self) {
        let Provenance { created_by, dataset, teacher, commit, metrics } = &self.provenance;
        let fields = [("created by", created_by), ("dataset", dataset), ("teacher", teacher), ("commit", commit)];
        for (name, value) in fields.into_iter().filter(|(_, value)| !value.is_empty()) {
            println!("{name:<12}{value}");
        }
        for (name, value) in metrics {
            println!("{:<12}{name} {value}", "metric");
        }
    }
}

fn describe(operation: &Operation) -> String {
    match operation {
        Operation::Convolution(c) => {
            let bits = match c.precision {
                Precision::Binary => "1 bit",
                Precision::Full => "f32",
            };
            format!("conv {0}x{0}/{1} {bits}", c.kernel, c.stride)
        }
        Operation::Depthwise(d) => format!("depthwise 3x3/{} f32", d.stride),
        Operation::MaxPool => "max pool 2x2/2".into(),
        Operation::SpaceToDepth { block } => format!("space to depth /{block}"),
        Operation::Concat => "concat".into(),
    }
}
