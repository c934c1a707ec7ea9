//! `onebit detect`: boxes in pictures.

use super::options::DetectorArguments;
use anyhow::{Context, Result, bail, ensure};
use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use onebit_detector::{
    detection::{Detection, ImageView, annotate},
    frames::{images, kitti},
};
use serde::Serialize;
use std::{
    collections::HashSet,
    fs,
    path::{Path, PathBuf},
};

/// Find objects in pictures.
#[derive(Args)]
#[command(after_help = "\
Examples:
  onebit detect models/demo.safetensors street.jpg
  onebit detect models/demo.safetensors folder --out found --format kitti
  onebit detect models/demo.safetensors folder --out found --annotate --score 0.3

Text and JSON (one line for each picture) go to the standard output, or with --out into one file for each picture; boxes are
left, top, right, bottom in pixels of the picture. A picture that cannot be read is reported, and the rest goes on.")]
pub(crate) struct Arguments {
    #[command(flatten)]
    detector: DetectorArguments,
    /// Pictures (.jpg, .jpeg, .png) or folders of them
    #[arg(required = true)]
    inputs: Vec<PathBuf>,
    /// Folder for one result file per picture (and annotated pictures)
    #[arg(long)]
    out: Option<PathBuf>,
    /// How results are written
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// Write pictures with the boxes drawn in, as PNG
    #[arg(long, requires = "out")]
    annotate: bool,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Format {
    /// class score left top right bottom
    Text,
    /// An object with the picture and its detections
    Json,
    /// KITTI result files, as the evaluation reads them; needs --out
    Kitti,
}

/// One picture's results as JSON.
#[derive(Serialize)]
struct PictureResult<'a> {
    image: String,
    width: u32,
    height: u32,
    detections: Vec<NamedDetection<'a>>,
}

#[derive(Serialize)]
struct NamedDetection<'a> {
    class: &'a str,
    score: f32,
    /// Left, top, right, bottom.
    corners: [f32; 4],
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    ensure!(arguments.format != Format::Kitti || arguments.out.is_some(), "--format kitti writes files: give --out DIR");
    let files = images::list(&arguments.inputs)?;
    if let Some(out) = &arguments.out {
        check_stems(&files)?;
        fs::create_dir_all(out).with_context(|| out.display().to_string())?;
    }
    let mut detector = arguments.detector.load()?;
    let classes = detector.network().classes().to_vec();

    let progress = progress_bar(files.len());
    let mut failed = 0;
    for file in &files {
        match images::decode(file) {
            Ok(mut picture) => {
                let detections = detector.detect(&ImageView::from_rgb(&picture)?);
                let size = picture.dimensions();
                let text = arguments.format.write(file, size, detections, &classes)?;
                match &arguments.out {
                    None => progress.suspend(|| print!("{text}")),
                    Some(out) => fs::write(result_path(out, file, arguments.format.extension()), text)
                        .with_context(|| out.display().to_string())?,
                }
                if let (true, Some(out)) = (arguments.annotate, &arguments.out) {
                    annotate(&mut picture, detections, &classes);
                    picture.save(result_path(out, file, "png"))?;
                }
            }
            Err(error) => {
                failed += 1;
                progress.suspend(|| eprintln!("error: {error}"));
            }
        }
        progress.inc(1);
    }
    progress.finish_and_clear();
    if failed > 0 {
        bail!("{failed} of {} pictures could not be read", files.len());
    }
    Ok(())
}

impl Format {
    fn extension(self) -> &'static str {
        match self {
            Self::Text | Self::Kitti => "txt",
            Self::Json => "json",
        }
    }

    fn write(self, file: &Path, size: (u32, u32), detections: &[Detection], classes: &[String]) -> Result<String> {
        let named = detections.iter().map(|d| (classes[d.class].as_str(), d));
        Ok(match self {
            Self::Text => {
                let mut text = format!("{} {} objects\n", file.display(), detections.len());
                for (class, Detection { score, bbox, .. }) in named {
                    let [x1, y1, x2, y2] = bbox.corners();
                    text += &format!("  {class} {score:.3} {x1:.1} {y1:.1} {x2:.1} {y2:.1}\n");
                }
                text
            }
            Self::Json => {
                let detections =
                    named.map(|(class, d)| NamedDetection { class, score: d.score, corners: d.bbox.corners() }).collect();
                let image = file.display().to_string();
                serde_json::to_string(&PictureResult { image, width: size.0, height: size.1, detections })? + "\n"
            }
            Self::Kitti => kitti::detected(detections, classes).iter().map(|label| format!("{label}\n")).collect(),
        })
    }
}

/// Results are named after pictures, so two pictures of one name would overwrite each other's.
fn check_stems(files: &[PathBuf]) -> Result<()> {
    let mut seen = HashSet::new();
    match files.iter().find(|file| !seen.insert(file.file_stem())) {
        Some(file) => bail!("{}: another picture has this name, their results would be the same file", file.display()),
        None => Ok(()),
    }
}

fn result_path(out: &Path, picture: &Path, extension: &str) -> PathBuf {
    out.join(picture.file_stem().unwrap_or_default()).with_added_extension(extension)
}

fn progress_bar(pictures: usize) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} pictures, {eta} left");
    ProgressBar::new(pictures as u64).with_style(style.expect("a valid template"))
}
