//! The program `distill`.

use clap::{Parser, Subcommand};
use onebit_distill::{recipe::Recipe, training};
use std::{error::Error, path::PathBuf, process::ExitCode};

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
        /// Go on from the run's checkpoint
        #[arg(long)]
        resume: bool,
    },
}

fn main() -> ExitCode {
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
        Command::Train { recipe, output, data, resume } => {
            let mut recipe = Recipe::load(&recipe)?;
            if let Some(root) = data {
                recipe.data.root = root;
            }
            Ok(training::train(&recipe, &output, resume)?)
        }
    }
}
