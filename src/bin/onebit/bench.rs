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

/// Times `rounds` images of mid grey, after one to warm up.
fn measure(session: &mut Session, rounds: u32, load_ms: f64) -> Benchmark {
    let grey = vec![128; 3 * session.network().input().width];
    let mut input = session.input_mut();
    (0..input.height()).for_each(|y| input.write_row(y, &grey));
    session.run();

    let progress = ProgressBar::new(u64::from(rounds)); // drawn on a terminal only
    let mut totals = Vec::new();
    let mut layers = vec![Vec::new(); session.profile().len()];
    for _ in 0..rounds {
        let start = Instant::now();
        session.run();
        totals.push(start.elapsed().as_secs_f64() * 1e3);
        for (times, layer) in layers.iter_mut().zip(session.profile()) {
            times.push(layer.nanoseconds as f64 * 1e-6);
        }
        progress.inc(1);
    }
    progress.finish_and_clear();
    Benchmark::new(session, totals, layers, load_ms)
}

impl Benchmark {
    fn new(session: &Session, mut totals: Vec<f64>, layers: Vec<Vec<f64>>, load_ms: f64) -> Self {
        let network = session.network();
        let rounds = totals.len() as u32;
        let median_ms = median(&mut totals);
        let medians: Vec<f64> = layers.into_iter().map(|mut times| median(&mut times)).collect();
        let sum: f64 = medians.iter().sum();
        let layers = session.profile().iter().zip(medians).map(|(layer, median_ms)| LayerBenchmark {
            name: layer.name.clone(),
            kernel: layer.kernel.to_owned(),
            median_ms,
            share: median_ms / sum,
            giga_operations_per_second: rate(2 * layer.macs, median_ms),
        });
        Self {
            network: network.name().to_owned(),
            input: network.input().to_string(),
            mode: session.mode().to_string(),
            kernel: session.kernel().to_owned(),
            threads: session.threads(),
            rounds,
            load_ms,
            median_ms,
            min_ms: totals[0], // sorted by `median`
            giga_operations_per_second: rate(network.counts().operations, median_ms),
            layers: layers.collect(),
        }
    }

    fn print(&self) {
        println!("{} {}, {}, kernel {}, {} threads", self.network, self.input, self.mode, self.kernel, self.threads);
        println!("{:<14}{:>10}{:>8}{:>9}  kernel", "layer", "ms", "share", "GOP/s");
        for LayerBenchmark { name, kernel, median_ms, share, giga_operations_per_second } in &self.layers {
            let share = 100.0 * share;
            println!("{name:<14}{median_ms:>10.3}{share:>7.1}%{giga_operations_per_second:>9.1}  {kernel}");
        }
        let Self { load_ms, median_ms, min_ms, rounds, .. } = self;
        println!("load {load_ms:.1} ms; {rounds} images: median {median_ms:.2} ms, minimum {min_ms:.2} ms");
        println!("{:.1} GOP/s", self.giga_operations_per_second);
    }
}

/// Sorts the times; they are not empty.
fn median(times: &mut [f64]) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

/// Operations per nanosecond; 0 for what took no measurable time.
fn rate(operations: u64, ms: f64) -> f64 {
    if ms > 0.0 { operations as f64 / (ms * 1e6) } else { 0.0 }
}
