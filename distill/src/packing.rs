//! From a run to a model file: batch norm folded, signs packed, activations calibrated.

mod statistics;

use crate::{
    data::{DataError, Dataset},
    recipe::{BinaryLayers, Recipe, RecipeError, Stage},
    student::{EPSILON, Filters, Student},
    training::{Checkpoint, Progress, TeacherFile, TrainError},
};
use burn::tensor::{Device, Tensor};
use image::RgbImage;
use onebit_detector::{
    detection::{ImageView, Resampler},
    engine::{self, EngineError},
    frames::images::{self, ImageFileError},
    model_file::{BinaryWeights, FullWeights, LayerWeights, Model, ModelError, Preprocessing, Provenance},
    network::{InputSize, Network, Operation, Precision},
};
use std::path::Path;
use thiserror::Error;

/// A run that cannot be packed, and why.
#[derive(Debug, Error)]
pub enum PackError {
    /// The run's recipe cannot be read.
    #[error(transparent)]
    Recipe(#[from] RecipeError),
    /// The run's checkpoint cannot be read.
    #[error(transparent)]
    Checkpoint(#[from] TrainError),
    /// The frames for calibration cannot be listed.
    #[error(transparent)]
    Data(#[from] DataError),
    /// A frame for calibration cannot be read.
    #[error(transparent)]
    Frame(#[from] ImageFileError),
    /// The run's last stage trains layers in full precision that the network wants binary.
    #[error("stage '{stage}' leaves layers in full precision: a model is packed after a stage with 'binary: all'")]
    NotBinary {
        /// The stage.
        stage: String,
    },
    /// Batch norm cannot be measured.
    #[error("the training frames do not fill one batch of {batch}")]
    NoBatch {
        /// Pictures in a batch.
        batch: usize,
    },
    /// The run's last stage trains binary layers.
    #[error("stage '{stage}' trains binary layers: 'distill teacher train' makes runs in full precision")]
    NotFull {
        /// The stage.
        stage: String,
    },
    /// Calibration failed.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The weights are no model.
    #[error(transparent)]
    Model(#[from] ModelError),
}

/// What packing measures on the training frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Frames for activation ranges, spread evenly, as the detector will see them.
    pub frames: usize,
    /// Batches, augmented as in training, over which batch norm's statistics are measured anew; 0 keeps those of the
    /// training.
    pub batch_norm: usize,
}

/// Packs the weights of a run as far as it has come, or their moving average if the recipe has one.
///
/// # Errors
/// If the run cannot be read, is not binary yet, or its frames cannot be found.
pub fn pack(run: &Path, recipe: &Recipe, options: Options) -> Result<Model, PackError> {
    let network = recipe.build_network().map_err(RecipeError::from)?;
    let fresh = Student::new(&network, recipe.binarization, &Device::flex().autodiff());
    let (mut student, progress) = Checkpoint::student(run, fresh)?;
    let stage = last_stage(recipe, &progress);
    if stage.binary != BinaryLayers::All {
        return Err(PackError::NotBinary { stage: stage.name.clone() });
    }
    student.set_binary(&stage.binary);
    if options.batch_norm > 0 {
        student = statistics::measured(student, recipe, stage, options.batch_norm, progress.epochs)?;
    }
    let provenance = provenance(run, recipe, &progress)?;
    let mut model = fold(&student, network, provenance);
    model.quantization = Some(engine::calibrate(&model, calibration(recipe, &model, options.frames)?)?);
    model.check()?;
    Ok(model)
}

/// The network of a run in full precision as far as it has come, for pictures of the size `input`; not calibrated, since
/// it is to be exported.
///
/// # Errors
/// If the run cannot be read or trains binary layers, or its network does not fit the size.
pub fn in_full_precision(run: &Path, recipe: &Recipe, input: InputSize) -> Result<Model, PackError> {
    let network = recipe.build_network().and_then(|network| network.with_input(input)).map_err(RecipeError::from)?;
    let fresh = Student::new(&network, recipe.binarization, &Device::flex());
    let (student, progress) = Checkpoint::student(run, fresh)?;
    let stage = last_stage(recipe, &progress);
    if stage.binary != BinaryLayers::None {
        return Err(PackError::NotFull { stage: stage.name.clone() });
    }
    let model = fold(&student, network.in_full_precision(), provenance(run, recipe, &progress)?);
    model.check()?;
    Ok(model)
}

/// The stage that a run is in, or the last one of a finished run.
fn last_stage<'a>(recipe: &'a Recipe, progress: &Progress) -> &'a Stage {
    &recipe.stages[progress.stage.min(recipe.stages.len() - 1)]
}

fn provenance(run: &Path, recipe: &Recipe, progress: &Progress) -> Result<Provenance, PackError> {
    let file = TeacherFile::of(run)?.map(|TeacherFile { sha256, path }| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        format!("{name}, SHA-256 {sha256}")
    });
    let described = Some(recipe.provenance.teacher.clone()).filter(|text| !text.is_empty());
    Ok(Provenance {
        created_by: concat!("onebit_distill ", env!("CARGO_PKG_VERSION")).into(),
        dataset: recipe.provenance.dataset.clone(),
        teacher: described.into_iter().chain(file).collect::<Vec<_>>().join("; "),
        commit: env!("ONEBIT_COMMIT").into(),
        metrics: [("epochs", progress.epochs), ("steps", progress.steps)]
            .map(|(name, count)| (name.to_owned(), count as f64))
            .into(),
    })
}

/// The model that computes what the student computes in evaluation, not yet calibrated. The student's layers are binary
/// where the network's are.
pub fn fold(student: &Student, network: Network, provenance: Provenance) -> Model {
    let mut filters = student.filters.iter();
    let weights = network.layers().iter().map(|layer| match &layer.operation {
        Operation::Convolution(c) => fold_layer(filters.next().expect("made for this network"), c.precision),
        Operation::Depthwise(_) => fold_layer(filters.next().expect("made for this network"), Precision::Full),
        Operation::MaxPool | Operation::SpaceToDepth { .. } | Operation::Concat => LayerWeights::None,
    });
    let weights = weights.collect();
    Model { network, weights, quantization: None, preprocessing: Preprocessing::default(), provenance }
}

/// Batch norm `γ·(x − μ)/√(σ² + ε) + β` becomes the factor `γ/√(σ² + ε)` and the bias `β − μ·factor` of each filter.
fn fold_layer(filters: &Filters, precision: Precision) -> LayerWeights {
    let [count, channels, kernel, _] = filters.latent.dims();
    let inputs = channels * kernel * kernel;
    let weights = values(filters.weight());
    let (factor, bias) = match (&filters.norm, &filters.bias) {
        (Some(norm), _) => {
            let [scale, shift] = [&norm.scale, &norm.shift].map(|p| values(p.val()));
            let [mean, variance] = [&norm.mean, &norm.variance].map(|p| values(p.val()));
            let factor: Vec<f32> =
                scale.iter().zip(variance).map(|(g, v)| (f64::from(*g) / (f64::from(v) + EPSILON).sqrt()) as f32).collect();
            let bias = shift.iter().zip(&mean).zip(&factor).map(|((b, m), f)| b - m * f).collect();
            (factor, bias)
        }
        (None, Some(bias)) => (vec![1.0; count], values(bias.val())),
        (None, None) => (vec![1.0; count], vec![0.0; count]),
    };
    let rows = weights.chunks_exact(inputs).zip(&factor);
    match precision {
        Precision::Binary => {
            let scale = rows.map(|(row, factor)| factor * row[0].abs()); // all weights of a filter are α or −α
            LayerWeights::Binary(BinaryWeights::pack(&weights, inputs, scale.collect(), bias))
        }
        Precision::Full => {
            let weights = rows.flat_map(|(row, factor)| row.iter().map(move |w| w * factor)).collect();
            LayerWeights::Full(FullWeights { weights, inputs, bias })
        }
    }
}

fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().try_to_vec().expect("weights are f32")
}

/// Training frames, letterboxed into the network's input.
fn calibration(recipe: &Recipe, model: &Model, frames: usize) -> Result<Vec<RgbImage>, PackError> {
    let dataset = Dataset::load(&recipe.data, &recipe.data.train, model.network.classes())?;
    let every = dataset.frames.len().div_ceil(frames.max(1));
    let mut resampler = Resampler::new(model.network.input(), model.preprocessing);
    let mut pictures = Vec::new();
    for frame in dataset.frames.iter().step_by(every) {
        let image = images::decode(&frame.image)?;
        let view = ImageView::from_rgb(&image).expect("a decoded picture has pixels");
        pictures.push(resampler.picture(&view).0);
    }
    Ok(pictures)
}
