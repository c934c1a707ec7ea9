//! The program `distill`.

mod commands;

use clap::{Parser, Subcommand};
use commands::teacher::TeacherCommand;
use onebit_distill::{
    device::Compute,
    packing,
    recipe::{Recipe, RecipeError},
    training,
};
use std::{
    error::Error,
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

/// Trains the one-bit detector.
#[derive(Parser)]
#[command(version, about)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Train a recipe
    #[command(after_help = "Examples:\n  distill train distill/recipes/demo.yaml --data DATA -o runs/demo\n  \
                            distill train distill/recipes/demo.yaml --data DATA -o runs/demo --resume")]
    Train {
        /// The recipe, a YAML file
        recipe: PathBuf,
        /// Folder of the run: recipe, metrics, checkpoint
        #[arg(short, long, value_name = "RUN")]
        output: PathBuf,
        /// Folder of the data sets, in place of the recipe's data.root
        #[arg(long, value_name = "FOLDER")]
        data: Option<PathBuf>,
        /// The teacher's ONNX file, in place of the recipe's teacher.file
        #[arg(long, value_name = "FILE")]
        teacher: Option<PathBuf>,
        /// Go on from the run's checkpoint
        #[arg(long)]
        resume: bool,
        /// Where to compute: cpu, vulkan, cuda or cuda:N; several take the recipe's shards in turn
        #[arg(long, value_delimiter = ',', default_value = "cpu")]
        device: Vec<Compute>,
    },
    /// Write a run's weights as a model file
    #[command(after_help = "Example:\n  distill pack runs/demo -o demo.safetensors")]
    Pack {
        /// Folder of the run
        run: PathBuf,
        /// The model file to write
        #[arg(short, long)]
        output: PathBuf,
        /// Folder of the data sets, in place of the one that the run was trained on
        #[arg(long, value_name = "FOLDER")]
        data: Option<PathBuf>,
        /// Training frames on which activation ranges are measured
        #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..))]
        frames: u32,
        /// Training batches over which batch norm's statistics are measured anew; 0 keeps those of the training
        #[arg(long, value_name = "BATCHES", default_value_t = 0)]
        batch_norm: u32,
    },
    /// Look at a teacher, train one, write one as ONNX
    #[command(subcommand)]
    Teacher(TeacherCommand),
    Ablate(commands::ablate::Arguments),
    /// Find anchors that fit the labelled boxes, ready for a recipe
    Anchors(commands::anchors::Arguments),
    /// Draw a synthetic driving set with labels, for tests and first steps
    Synth(commands::synth::Arguments),
    /// Plot the losses of a run as a PNG picture
    Plot(commands::plot::Arguments),
    /// Gather runs into one table
    Report(commands::report::Arguments),
}

fn main() -> ExitCode {
    sigpipe::reset();
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("info")).init();
    match run(Arguments::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log::error!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<(), Box<dyn Error>> {
    match command {
        Command::Train { recipe, output, data, teacher, resume, device } => {
            let mut recipe = load_recipe(&recipe, data.as_deref())?;
            if let Some(file) = teacher {
                recipe.set_teacher(&file);
            }
            Ok(training::train_on(&device, &recipe, &output, resume)?)
        }
        Command::Pack { run, output, data, frames, batch_norm } => {
            let recipe = load_recipe(&run.join(training::RECIPE), data.as_deref())?;
            let options = packing::Options { frames: frames as usize, batch_norm: batch_norm as usize };
            let model = packing::pack(&run, &recipe, options)?;
            model.save(&output)?;
            println!("{}: {}, {} bytes", output.display(), model.network.name(), fs::metadata(&output)?.len());
            Ok(())
        }
        Command::Teacher(command) => commands::teacher::run(command),
        Command::Ablate(arguments) => arguments.run(),
        Command::Anchors(arguments) => arguments.run(),
        Command::Synth(arguments) => arguments.run(),
        Command::Plot(arguments) => arguments.run(),
        Command::Report(arguments) => arguments.run(),
    }
}

fn load_recipe(path: &Path, data: Option<&Path>) -> Result<Recipe, RecipeError> {
    let mut recipe = Recipe::load(path)?;
    if let Some(root) = data {
        recipe.set_root(root);
    }
    Ok(recipe)
}
