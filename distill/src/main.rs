//! The program `distill`.

mod commands;

use clap::{Parser, Subcommand};
use commands::{ablate, anchors, pack, plot, report, synth, teacher, train};
use std::{error::Error, process::ExitCode};

/// The system's own allocator gives large buffers back to the system, and each would come mapped and zeroed anew.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Trains the one-bit detector.
#[derive(Parser)]
#[command(version, about)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Train(train::Arguments),
    Pack(pack::Arguments),
    /// Look at a teacher, train one, write one as ONNX
    #[command(subcommand)]
    Teacher(teacher::TeacherCommand),
    Ablate(ablate::Arguments),
    /// Find anchors that fit the labelled boxes, ready for a recipe
    Anchors(anchors::Arguments),
    /// Draw a synthetic driving set with labels, for tests and first steps
    Synth(synth::Arguments),
    /// Plot the losses of a run as a PNG picture
    Plot(plot::Arguments),
    /// Gather runs into one table
    Report(report::Arguments),
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
        Command::Train(arguments) => arguments.run(),
        Command::Pack(arguments) => arguments.run(),
        Command::Teacher(command) => command.run(),
        Command::Ablate(arguments) => arguments.run(),
        Command::Anchors(arguments) => arguments.run(),
        Command::Synth(arguments) => arguments.run(),
        Command::Plot(arguments) => arguments.run(),
        Command::Report(arguments) => arguments.run(),
    }
}
