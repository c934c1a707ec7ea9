//! `distill teacher`: look at a teacher, train one, write one as ONNX.

use super::overlay::{DataFolder, Devices, Overlay};
use clap::Subcommand;
use onebit_detector::{
    network::InputSize,
    onnx::{self, Outputs},
};
use onebit_distill::{
    packing,
    recipe::{Layout, Provider, Recipe, TeacherConfig, TeacherInput},
    teacher, training,
};
use std::{
    error::Error,
    fs,
    path::{Path, PathBuf},
};

#[derive(Subcommand)]
pub(crate) enum TeacherCommand {
    /// List the tensors of an ONNX file that can be taps
    #[command(after_help = "Examples:\n  distill teacher inspect teacher.onnx\n  \
                            distill teacher inspect teacher.onnx --input 320x224")]
    Inspect {
        /// The ONNX file
        file: PathBuf,
        /// Size of the pictures, as the recipe's window; needed if the network takes any
        #[arg(long, value_name = "WIDTHxHEIGHT")]
        input: Option<InputSize>,
        /// The network reads [batch, height, width, 3], not [batch, 3, height, width]
        #[arg(long)]
        nhwc: bool,
    },
    /// Train a recipe's network in full precision: all stages, nothing binary, no teacher
    #[command(after_help = "Example:\n  distill teacher train recipe.yaml --data DATA -o runs/teacher")]
    Train {
        /// The recipe, a YAML file
        recipe: PathBuf,
        /// Folder of the run
        #[arg(short, long, value_name = "RUN")]
        output: PathBuf,
        #[command(flatten)]
        data: DataFolder,
        /// Go on from the run's checkpoint
        #[arg(long)]
        resume: bool,
        #[command(flatten)]
        devices: Devices,
    },
    /// Compute the features of every training picture ahead, into the recipe's cache (its key teacher.cache)
    #[command(after_help = "Example:\n  distill teacher cache recipe.yaml --data DATA --teacher teacher.onnx")]
    Cache {
        /// The recipe, a YAML file
        recipe: PathBuf,
        #[command(flatten)]
        overlay: Overlay,
    },
    /// Write the network of a full-precision run as ONNX
    #[command(after_help = "The input is 'image' [1, 3, height, width], float32, red green blue, 0 to 1; outputs are \
                            called after their layers.\n\nExample:\n  \
                            distill teacher export runs/teacher -o teacher.onnx --tap conv10 --tap conv16")]
    Export {
        /// Folder of the run
        run: PathBuf,
        /// The ONNX file to write
        #[arg(short, long, value_name = "FILE")]
        output: PathBuf,
        /// A layer to make an output, beside the last one; may be given several times
        #[arg(long = "tap", value_name = "LAYER")]
        taps: Vec<String>,
        /// Size of the pictures; without it, the recipe's window
        #[arg(long, value_name = "WIDTHxHEIGHT")]
        input: Option<InputSize>,
    },
}

impl TeacherCommand {
    pub(crate) fn run(self) -> Result<(), Box<dyn Error>> {
        match self {
            Self::Inspect { file, input, nhwc } => inspect(file, input, nhwc),
            Self::Train { recipe, output, data, resume, devices } => {
                let recipe = data.load(&recipe)?.in_full_precision();
                Ok(training::train_on(&devices.list, &recipe, &output, resume)?)
            }
            Self::Cache { recipe, overlay } => Ok(training::fill_cache(&overlay.load(&recipe)?)?),
            Self::Export { run, output, taps, input } => export(&run, &output, &taps, input),
        }
    }
}

fn inspect(file: PathBuf, input: Option<InputSize>, nhwc: bool) -> Result<(), Box<dyn Error>> {
    let layout = if nhwc { Layout::Nhwc } else { Layout::Nchw };
    let input_config = TeacherInput { layout, ..TeacherInput::default() };
    let config = TeacherConfig { file, input: input_config, provider: Provider::Cpu, threads: 1, cache: None };
    let (size, candidates) = teacher::inspect(&config, input)?;
    println!("{} tensors for a picture of {size} (channels x height x width)", candidates.len());
    for teacher::Candidate { name, operator, shape } in candidates {
        println!("{:>16}  {operator:<18}  {name}", shape.to_string());
    }
    Ok(())
}

fn export(run: &Path, output: &Path, taps: &[String], input: Option<InputSize>) -> Result<(), Box<dyn Error>> {
    let recipe = Recipe::load(&run.join(training::RECIPE))?;
    let model = packing::in_full_precision(run, &recipe, input.unwrap_or(recipe.windows()[0]))?;
    let bytes = onnx::export(&model, Outputs::LastAnd(taps))?;
    fs::write(output, &bytes).map_err(|e| format!("{}: {e}", output.display()))?;
    println!("{}: {}, {} bytes", output.display(), model.network.name(), bytes.len());
    Ok(())
}
