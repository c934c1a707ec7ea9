//! `onebit eval`: how good a detector is.

use super::options::{EngineArguments, parse_fraction};
use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use indicatif::ProgressBar;
use onebit_detector::{
    evaluation::kitti::{Frame, Protocol, Run, evaluate, read_results},
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
        let run = Run::new(&Model::load(model)?, &self.engine.options(), &self.data.join(&self.images), labels)?;
        let progress = ProgressBar::new(run.size_hint().0 as u64);
        let frames = progress.wrap_iter(run).collect::<Result<_, _>>()?;
        progress.finish_and_clear();
        Ok(frames)
    }
}
