//! `onebit eval`: how good a detector is.

use super::options::{EngineArguments, parse_fraction};
use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use indicatif::ProgressBar;
use onebit_detector::{
    detection::{Detector, DetectorOptions, ImageView},
    evaluation::kitti::{Frame, Protocol, evaluate, read_results},
    frames::{images, kitti},
    model_file::Model,
};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// Measure how good a detector is.
#[derive(Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    benchmark: Benchmark,
}

#[derive(Subcommand)]
enum Benchmark {
    Kitti(KittiArguments),
}

/// The official 2-D average precision (R11 and R40) on a folder in KITTI layout.
#[derive(Args)]
#[command(after_help = "\
DATA has a folder of label files and, with --model, one of pictures with the same names. Beside the average precision the
table says how many objects are found and missed at one score, --score.

Examples:
  onebit eval kitti kitti/training --model models/demo.safetensors --json report.json
  onebit eval kitti kitti/training --results my_results
  onebit eval kitti small_set --model models/demo.safetensors --min-overlap 0.5")]
struct KittiArguments {
    /// Folder with image_2 and label_2
    data: PathBuf,
    /// The model file to run on the pictures
    #[arg(long, conflicts_with = "results", required_unless_present = "results")]
    model: Option<PathBuf>,
    /// Folder of result files (NAME.txt, labels with a score), made by anything
    #[arg(long)]
    results: Option<PathBuf>,
    /// Folder of the pictures within DATA
    #[arg(long, default_value = "image_2")]
    images: PathBuf,
    /// Folder of the label files within DATA
    #[arg(long, default_value = "label_2")]
    labels: PathBuf,
    /// IoU that counts as found, for every class [default: car 0.7, pedestrian and cyclist 0.5]
    #[arg(long, value_parser = parse_fraction::<f64>)]
    min_overlap: Option<f64>,
    /// Score at which found and missed objects are counted
    #[arg(long, default_value = "0.3", value_parser = parse_fraction::<f64>)]
    score: f64,
    /// Also write the report, with the precision curves, as JSON
    #[arg(long)]
    json: Option<PathBuf>,
    #[command(flatten)]
    engine: EngineArguments,
}

/// The lowest score of a box that takes part, as in Darknet's validation: the curves need the doubtful ones too.
const LOWEST_SCORE: f32 = 0.005;

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let Benchmark::Kitti(arguments) = &arguments.benchmark;
    let labels = arguments.data.join(&arguments.labels);
    let frames = match (&arguments.results, &arguments.model) {
        (Some(results), _) => read_results(&labels, results)?,
        (None, Some(model)) => arguments.detect(model, &labels)?,
        (None, None) => unreachable!("clap asks for one of them"),
    };
    let mut protocol = Protocol { score_threshold: arguments.score, ..Protocol::default() };
    if let Some(overlap) = arguments.min_overlap {
        protocol = protocol.with_min_overlap(overlap);
    }
    let report = evaluate(&frames, &protocol)?;
    print!("{report}");
    if let Some(path) = &arguments.json {
        fs::write(path, serde_json::to_string_pretty(&report)?).with_context(|| path.display().to_string())?;
    }
    Ok(())
}

impl KittiArguments {
    /// Runs the model on the picture of every label file.
    fn detect(&self, model: &Path, labels: &Path) -> Result<Vec<Frame>> {
        let options = DetectorOptions { score_threshold: LOWEST_SCORE, max_detections: 300, ..DetectorOptions::default() };
        let mut detector = Detector::new(&Model::load(model)?, &self.engine.options(), options)?;
        let classes = detector.network().classes().to_vec();
        let pictures = images::list(&[self.data.join(&self.images)])?;
        let progress = ProgressBar::new(pictures.len() as u64);
        let mut frames = Vec::with_capacity(pictures.len());
        for path in &pictures {
            let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            let labels = kitti::read(&labels.join(&name).with_added_extension("txt"))?;
            let picture = images::decode(path)?;
            let detections = kitti::detected(detector.detect(&ImageView::from_rgb(&picture)?), &classes);
            frames.push(Frame { name, labels, detections });
            progress.inc(1);
        }
        progress.finish_and_clear();
        Ok(frames)
    }
}
