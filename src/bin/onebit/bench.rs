//! `onebit bench`: how long the network takes, layer by layer, and what a whole detection adds.

use super::options::EngineArguments;
use anyhow::Result;
use clap::{Args, value_parser};
use indicatif::ProgressBar;
use onebit_detector::{
    detection::{Detector, DetectorOptions, ImageView, PixelFormat},
    engine::{self, Int8Peak, Session},
    model_file::{Model, Preprocessing},
    network::InputSize,
};
use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;
use std::{fs, path::PathBuf, time::Instant};

/// Time a model on this processor, as a whole and layer by layer.
#[derive(Args)]
#[command(after_help = "\
Times depend on the machine and on what else runs on it: compare within one run, or in alternating runs.
The int8 peak is that of the processor's best dot-product instruction on registers alone, measured in the same run on as
many threads; tables of sums can exceed it.

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
    /// `null` on processors for which no loop is written to measure it.
    int8_peak: Option<Peak>,
    layers: Vec<LayerBenchmark>,
    detections: Vec<DetectionBenchmark>,
}

#[derive(Serialize)]
struct Peak {
    instruction: String,
    giga_operations_per_second: f64,
    /// Share of it that the network reaches in the median round.
    share: f64,
}

#[derive(Serialize)]
struct LayerBenchmark {
    name: String,
    kernel: String,
    median_ms: f64,
    /// Of the sum of all layers' medians.
    share: f64,
    giga_operations_per_second: f64,
    /// Of the int8 peak.
    share_of_int8_peak: Option<f64>,
}

/// A whole detection on frames of one size: medians, and shares of their sum.
#[derive(Serialize)]
struct DetectionBenchmark {
    frame: String,
    letterbox_ms: f64,
    network_ms: f64,
    boxes_ms: f64,
    letterbox_share: f64,
    boxes_share: f64,
}

/// Sizes of frames for whole detections: a KITTI camera's and full HD.
const FRAMES: [(usize, usize); 2] = [(1242, 375), (1920, 1080)];

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let started = Instant::now();
    // As in a program that runs for long the model is dropped: a session has its own form of the weights.
    let (mut session, preprocessing) = Model::load_and(&arguments.model, |model| arguments.session(model))??;
    let load_ms = milliseconds_since(started);
    let times = Times::measure(&mut session, arguments.rounds, started);
    let resident_mb = resident_mb(); // before anything else takes memory
    let peak = engine::int8_peak(session.threads());
    let mut benchmark = Benchmark::new(&session, load_ms, times, peak);
    benchmark.resident_mb = resident_mb;

    let mut detector = Detector::of_session(session, preprocessing, DetectorOptions::default())?;
    for (width, height) in FRAMES {
        benchmark.detections.push(DetectionBenchmark::measure(&mut detector, (width, height), arguments.rounds));
    }
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&benchmark)?);
    } else {
        benchmark.print();
    }
    Ok(())
}

impl Arguments {
    /// A session of the model with the input size that is asked for, and how it wants its images.
    fn session(&self, mut model: Model) -> Result<(Session, Preprocessing)> {
        if let Some(input) = self.input {
            model.network = model.network.with_input(input)?;
        }
        Ok((Session::new(&model, &self.engine.options())?, model.preprocessing))
    }
}

impl DetectionBenchmark {
    /// Times `rounds` frames that rise from black to white, after one to warm up.
    fn measure(detector: &mut Detector, (width, height): (usize, usize), rounds: u32) -> Self {
        let pixels: Vec<u8> = (0..3 * width * height).map(|i| (i * 256 / (3 * width * height)) as u8).collect();
        let frame = ImageView::new(&pixels, width, height, 3 * width, PixelFormat::Rgb8).expect("the frame is whole");
        detector.detect(&frame);
        let mut times = [const { Vec::new() }; 3];
        for _ in 0..rounds {
            detector.detect(&frame);
            let timings = detector.timings();
            for (times, time) in times.iter_mut().zip([timings.letterbox, timings.network, timings.boxes]) {
                times.push(time.as_secs_f64() * 1e3);
            }
        }
        let [letterbox_ms, network_ms, boxes_ms] = times.map(|mut times| median(&mut times));
        let sum = letterbox_ms + network_ms + boxes_ms;
        Self {
            frame: format!("{width}x{height}"),
            letterbox_ms,
            network_ms,
            boxes_ms,
            letterbox_share: letterbox_ms / sum,
            boxes_share: boxes_ms / sum,
        }
    }
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
    fn new(session: &Session, load_ms: f64, mut times: Times, peak: Option<Int8Peak>) -> Self {
        let network = session.network();
        let rounds = times.wall.len() as u32;
        let median_ms = median(&mut times.wall);
        let medians: Vec<f64> = times.layers.into_iter().map(|mut times| median(&mut times)).collect();
        let sum: f64 = medians.iter().sum();
        let of_peak = |rate: f64| peak.map(|peak| rate / peak.giga_operations_per_second);
        let layers = session.profile().iter().zip(medians).map(|(layer, median_ms)| {
            let rate = rate(2 * layer.macs, median_ms);
            LayerBenchmark {
                name: layer.name.clone(),
                kernel: layer.kernel.to_owned(),
                median_ms,
                share: median_ms / sum,
                giga_operations_per_second: rate,
                share_of_int8_peak: of_peak(rate),
            }
        });
        let giga_operations_per_second = rate(network.counts().operations, median_ms);
        let int8_peak = peak.map(|peak| Peak {
            instruction: peak.instruction.to_owned(),
            giga_operations_per_second: peak.giga_operations_per_second,
            share: giga_operations_per_second / peak.giga_operations_per_second,
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
            resident_mb: None,
            giga_operations_per_second,
            int8_peak,
            layers: layers.collect(),
            detections: Vec::new(),
        }
    }

    fn print(&self) {
        println!("{} {}, {}, kernel {}, {} threads", self.network, self.input, self.mode, self.kernel, self.threads);
        println!("{:<14}{:>10}{:>8}{:>9}{:>9}  kernel", "layer", "ms", "share", "GOP/s", "of peak");
        for layer in &self.layers {
            let LayerBenchmark { name, kernel, median_ms, giga_operations_per_second, .. } = layer;
            let share = 100.0 * layer.share;
            let of_peak = layer.share_of_int8_peak.map_or("-".into(), |share| format!("{:.1}%", 100.0 * share));
            println!("{name:<14}{median_ms:>10.3}{share:>7.1}%{giga_operations_per_second:>9.1}{of_peak:>9}  {kernel}");
        }
        let Self { load_ms, first_result_ms, median_ms, min_ms, cpu_ms, rounds, .. } = self;
        println!("load {load_ms:.1} ms, first result after {first_result_ms:.1} ms");
        println!("{rounds} images: median {median_ms:.2} ms, minimum {min_ms:.2} ms; processor time {cpu_ms:.2} ms");
        println!("{:.1} GOP/s", self.giga_operations_per_second);
        if let Some(Peak { instruction, giga_operations_per_second, share }) = &self.int8_peak {
            let share = 100.0 * share;
            println!("that is {share:.1}% of the int8 peak ({instruction}): {giga_operations_per_second:.0} GOP/s");
        }
        if let Some(resident_mb) = self.resident_mb {
            println!("resident memory at most {resident_mb:.1} MB");
        }
        for detection in &self.detections {
            let DetectionBenchmark { frame, letterbox_ms, network_ms, boxes_ms, letterbox_share, boxes_share } = detection;
            let (letterbox_share, boxes_share) = (100.0 * letterbox_share, 100.0 * boxes_share);
            println!(
                "a {frame} frame: letterbox and conversion {letterbox_ms:.3} ms ({letterbox_share:.1}%), network \
                 {network_ms:.3} ms, decoding and NMS {boxes_ms:.3} ms ({boxes_share:.1}%)"
            );
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
