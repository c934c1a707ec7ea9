//! `onebit`: make, inspect, run, measure and export one-bit detectors.

mod bench;
mod detect;
mod eval;

mod export_onnx;
mod inspect;
mod new;
mod options;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Make, inspect, run, measure and export one-bit object detectors.
#[derive(Parser)]
#[command(version, max_term_width = 110, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  onebit detect models/demo.safetensors demo/frames --out found --annotate
  onebit eval kitti path/to/kitti/training --model models/demo.safetensors
  onebit new darknet-yolo -o random.safetensors --seed 1
  onebit bench random.safetensors --input 416x416 --threads 2

Exit codes: 0 all went well, 1 something failed (the message says what), 2 the command line is wrong.";

#[derive(Subcommand)]
enum Command {
    New(new::Arguments),
    Inspect(inspect::Arguments),

    Detect(detect::Arguments),
    Bench(bench::Arguments),
    ExportOnnx(export_onnx::Arguments),
    Eval(eval::Arguments),
}

fn main() -> ExitCode {
    sigpipe::reset();
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("warn")).init();
    let result = match Cli::parse().command {
        Command::New(arguments) => new::run(&arguments),
        Command::Inspect(arguments) => inspect::run(&arguments),

        Command::Detect(arguments) => detect::run(&arguments),
        Command::Bench(arguments) => bench::run(&arguments),
        Command::ExportOnnx(arguments) => export_onnx::run(&arguments),
        Command::Eval(arguments) => eval::run(&arguments),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
