//! `onebit bench`: how long the network takes, layer by layer.

use super::options::EngineArguments;
use anyhow::Result;
use clap::{Args, value_parser};
use indicatif::ProgressBar;
use onebit_detector::{engine::Session, model_file::Model, network::InputSize};
use serde::Serialize;
use std::{path::PathBuf, time::Instant};

/// Time a model on this processor, as a whole and layer by layer.
#[derive(Args)]
#[command(after_help = "\
Times depend on the machine and on what else runs on it: compare within one run, or in alternating runs.

Examples:
  onebit bench darknet.safetensors --input 1248x384 --threads 2
  onebit bench darknet.safetensors --kernel portable --json")]
pub(crate) struct Arguments {
    /// The model file
    model: PathBuf,
    /// Size of the input image, WIDTHxHEIGHT [default: the model's]
    #[arg(long)]
    input: Option<InputSize>,
    #[command(flatten)]
    engine: EngineArguments,
    /// Images to time, after one to warm up
    #[arg(long, default_value_t = 10, value_parser = value_parser!(u32).range(1..=100_000))]
    rounds: u32,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What `--json` prints.
#[derive(Serialize)]
struct Benchmark {
    network: String,
    input: String,
    mode: String,
    kernel: String,
    threads: usize,
    rounds: u32,
    /// Milliseconds from building the plan to being ready.
    load_ms: f64,
    median_ms: f64,
    min_ms: f64,
    /// Operations per nanosecond in the median round.
    giga_operations_per_second: f64,
    layers: Vec<LayerBenchmark>,
}

#[derive(Serialize)]
struct LayerBenchmark {
    name: String,
    kernel: String,
    median_ms: f64,
    /// Of the sum of all layers' medians.
    share: f64,
    giga_operations_per_second: f64,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let mut model = Model::load(&arguments.model)?;
    if let Some(input) = arguments.input {
        model.network = model.network.with_input(input)?;
    }
    let started = Instant::now();
    let mut session = Session::new(&model, &arguments.engine.options())?;
    let load_ms = started.elapsed().as_secs_f64() * 1e3;
    let benchmark = measure(&mut session, arguments.rounds, load_ms);
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&benchmark)?);
    } else {
        benchmark.print();
    }
    Ok(())
}
