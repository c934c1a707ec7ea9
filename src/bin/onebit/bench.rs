//! `onebit bench`: how long the network takes, layer by layer.

use super::options::EngineArguments;
use anyhow::Result;
use clap::{Args, value_parser};
use indicatif::ProgressBar;
use onebit_detector::{engine::Session, model_file::Model, network::InputSize};
use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;
use std::{fs, path::PathBuf, time::Instant};

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
    /// Milliseconds from opening the model file to a session that is ready, the choice of the kernel included.
    load_ms: f64,
    /// Milliseconds from opening the model file to the first result.
    first_result_ms: f64,
    median_ms: f64,
    min_ms: f64,
    /// Median of the processor's time for an image, over all threads: what other programs do beside it counts less.
    cpu_ms: f64,
    /// The most memory that was resident, in MB (10⁶ bytes); `null` where the system does not say.
    resident_mb: Option<f64>,
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
    let started = Instant::now();
    let mut model = Model::load(&arguments.model)?;
    if let Some(input) = arguments.input {
        model.network = model.network.with_input(input)?;
    }
    let mut session = Session::new(&model, &arguments.engine.options())?;
    drop(model); // as in a program that runs for long: the session has its own form of the weights
    let load_ms = milliseconds_since(started);
    let times = Times::measure(&mut session, arguments.rounds, started);
    let benchmark = Benchmark::new(&session, load_ms, times);
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&benchmark)?);
    } else {
        benchmark.print();
    }
    Ok(())
}

/// Milliseconds of each round.
struct Times {
    first_result: f64,
    wall: Vec<f64>,
    cpu: Vec<f64>,
    layers: Vec<Vec<f64>>,
}

impl Times {
    /// Times `rounds` images of mid grey, after one to warm up.
    fn measure(session: &mut Session, rounds: u32, started: Instant) -> Self {
        let grey = vec![128; 3 * session.network().input().width];
        let mut input = session.input_mut();
        (0..input.height()).for_each(|y| input.write_row(y, &grey));
        session.run();
        let layers = vec![Vec::new(); session.profile().len()];
        let mut times = Self { first_result: milliseconds_since(started), wall: Vec::new(), cpu: Vec::new(), layers };

        let progress = ProgressBar::new(u64::from(rounds)); // drawn on a terminal only
        for _ in 0..rounds {
            let (start, cpu_start) = (Instant::now(), cpu_milliseconds());
            session.run();
            times.cpu.push(cpu_milliseconds() - cpu_start);
            times.wall.push(milliseconds_since(start));
            for (times, layer) in times.layers.iter_mut().zip(session.profile()) {
                times.push(layer.nanoseconds as f64 * 1e-6);
            }
            progress.inc(1);
        }
        progress.finish_and_clear();
        times
    }
}

fn milliseconds_since(start: Instant) -> f64 {
    start.elapsed().as_secs_f64() * 1e3
}

/// Processor time of all threads since the program's start.
fn cpu_milliseconds() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 * 1e3 + time.tv_nsec as f64 * 1e-6
}

/// What Linux calls the high-water mark of resident memory.
fn resident_mb() -> Option<f64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let kibibytes = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?.trim().strip_suffix("kB")?.trim();
    Some(kibibytes.parse::<f64>().ok()? * 1024.0 * 1e-6)
}

impl Benchmark {
    fn new(session: &Session, load_ms: f64, mut times: Times) -> Self {
        let network = session.network();
        let rounds = times.wall.len() as u32;
        let median_ms = median(&mut times.wall);
        let medians: Vec<f64> = times.layers.into_iter().map(|mut times| median(&mut times)).collect();
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
            first_result_ms: times.first_result,
            median_ms,
            min_ms: times.wall[0], // sorted by `median`
            cpu_ms: median(&mut times.cpu),
            resident_mb: resident_mb(),
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
        let Self { load_ms, first_result_ms, median_ms, min_ms, cpu_ms, rounds, .. } = self;
        println!("load {load_ms:.1} ms, first result after {first_result_ms:.1} ms");
        println!("{rounds} images: median {median_ms:.2} ms, minimum {min_ms:.2} ms; processor time {cpu_ms:.2} ms");
        println!("{:.1} GOP/s", self.giga_operations_per_second);
        if let Some(resident_mb) = self.resident_mb {
            println!("resident memory at most {resident_mb:.1} MB");
        }
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
