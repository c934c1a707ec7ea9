//! The file that describes a training run.

mod binarization;
mod data;
mod optimization;
mod transfer;

pub use binarization::{Binarization, FilterScale};
pub use data::{Broken, DataConfig, Format, Role, SetConfig};
pub use optimization::{AdamSettings, LearningRate, OptimizerConfig, RateStep, SgdSettings};
pub use transfer::{
    CacheConfig, ColourOrder, Course, Layout, Provider, TapConfig, TapWeight, TeacherConfig, TeacherInput, TransferLoss,
};

use onebit_detector::network::{InputSize, Network, NetworkError, NetworkSpec};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
};
use thiserror::Error;

/// Everything that decides how a run goes. Two runs of one recipe on one machine give the same bits.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// Source of all chance: initial weights, order of the frames, augmentation.
    #[serde(default)]
    pub seed: u64,
    /// The detector to train.
    pub network: NetworkSpec,
    /// Weights to start from in place of random ones, for all layers or the first ones: a file of Darknet's (`.weights`), or
    /// safetensors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weights: Option<PathBuf>,
    /// Size of a training picture; without it, the network's input.
    ///
    /// The network is fully convolutional: windows of enlarged frames show it objects at the size they have in a large
    /// input, for the price of a small one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<InputSize>,
    /// Sizes of which every batch has one by chance, in place of `window`: the network learns objects of more sizes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub windows: Vec<InputSize>,
    /// Frames and labels.
    pub data: DataConfig,
    /// How a frame is changed before the network sees it.
    #[serde(default)]
    pub augmentation: Augmentation,
    /// Pictures in a batch.
    #[serde(default = "default_batch")]
    pub batch: usize,
    /// Parts into which a batch is split, each computed by its own thread; batch norm sees one part at a time.
    ///
    /// The result depends on this number, not on how many cores there are.
    #[serde(default = "default_shards")]
    pub shards: usize,
    /// Weights of the loss.
    #[serde(default)]
    pub loss: RegionLossConfig,
    /// Adam or SGD.
    #[serde(default)]
    pub optimizer: OptimizerConfig,
    /// Share of the old values when a moving average of the weights takes in a step's new ones, such as 0.999. The average
    /// is what is validated and packed. Without it there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ema: Option<f64>,
    /// How the binary layers make bits of their weights.
    #[serde(default)]
    pub binarization: Binarization,
    /// Epochs between two looks at the validation frames; the last epoch of a stage always looks.
    #[serde(default = "default_validate_every")]
    pub validate_every: usize,
    /// What is trained one after the other, each stage from the weights of the one before.
    pub stages: Vec<Stage>,
    /// The network whose features the student learns from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub teacher: Option<TeacherConfig>,
    /// Which of its features, and how.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub transfer: Vec<TapConfig>,
    /// What goes into the packed model's provenance: data, licences, credits.
    #[serde(default)]
    pub provenance: ProvenanceConfig,
}

/// How a frame is changed before the network sees it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Augmentation {
    /// Range of enlargement, drawn evenly on a logarithmic scale. At 1 the frame just fits into the network's input, as
    /// the detector will see it.
    pub scale: [f32; 2],
    /// Largest change of width against height, as a share: 0.2 gives factors from 1/1.2 to 1.2.
    pub jitter: f32,
    /// Probability of a mirrored frame.
    pub flip: f32,
    /// Largest shift of the hue, as a share of the colour circle.
    pub hue: f32,
    /// Largest factor on, or divisor of, the saturation.
    pub saturation: f32,
    /// Largest factor on, or divisor of, the brightness.
    pub exposure: f32,
    /// Probability that the window is placed so that it shows a labelled object, each class being as likely as another.
    pub focus: f32,
    /// Probability that a picture is put together from windows of four frames.
    pub mosaic: f32,
    /// Objects lower or narrower than this in the window, in pixels, are ignore regions.
    pub min_size: f32,
    /// Objects of which the window shows less than this share are ignore regions.
    pub min_visible: f32,
}

/// Weights of the region loss; the defaults are YOLO-v2's (`yolo-voc.cfg`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RegionLossConfig {
    /// Objectness of the box that is responsible for an object.
    pub object_scale: f32,
    /// Objectness of every other box.
    pub no_object_scale: f32,
    /// Position and size.
    pub coord_scale: f32,
    /// Class.
    pub class_scale: f32,
    /// A box that overlaps an object by more than this IoU need not be silent.
    pub ignore_iou: f32,
    /// A box of which more than this share lies in an ignore region need not be silent.
    pub ignore_share: f32,
    /// Objectness learns the IoU of its box (`rescore=1`) rather than 1.
    pub rescore: bool,
    /// For so many samples from the start every box is also drawn towards its anchor.
    pub warmup_samples: u64,
}

/// A part of a run with its own learning rate and its own choice of binary layers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stage {
    /// What it is called in the log and the metrics.
    pub name: String,
    /// How many times it shows every frame.
    pub epochs: usize,
    /// Which of the network's binary layers are binary already; the others still train in full precision.
    #[serde(default)]
    pub binary: BinaryLayers,
    /// Learning rate over the stage.
    pub learning_rate: LearningRate,
}

/// Which of the network's binary layers a stage trains as such.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BinaryLayers {
    /// Every one.
    #[default]
    All,
    /// Not any: the full-precision network.
    None,
    /// The layers of these names.
    Only(BTreeSet<String>),
}

impl BinaryLayers {
    /// Is the layer of this name among them?
    pub fn contains(&self, layer: &str) -> bool {
        match self {
            Self::All => true,
            Self::None => false,
            Self::Only(names) => names.contains(layer),
        }
    }
}

/// What goes into the packed model's provenance.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ProvenanceConfig {
    /// The data, with licences and credits.
    pub dataset: String,
    /// Who or what made the labels, where no human did.
    pub teacher: String,
}

/// A recipe that cannot be used, and why.
#[derive(Debug, Error)]
pub enum RecipeError {
    /// The file cannot be read.
    #[error("{}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Not a recipe: unknown or missing keys, wrong types.
    #[error("{}: {source}", path.display())]
    Yaml {
        /// The file.
        path: PathBuf,
        /// Key, line and column.
        source: serde_yaml::Error,
    },
    /// A value is out of range.
    #[error("{key}: {reason}")]
    Value {
        /// The key, as a path.
        key: String,
        /// What is wrong and what would be right.
        reason: String,
    },
    /// The network cannot be built.
    #[error("network.{0}")]
    Network(#[from] NetworkError),
}

impl Recipe {
    /// Reads and checks a recipe; [`DataConfig::root`], [`TeacherConfig::file`], [`CacheConfig::folder`] and
    /// [`Recipe::weights`] become absolute.
    ///
    /// # Errors
    /// Names the file, the key and what would be right.
    pub fn load(path: &Path) -> Result<Self, RecipeError> {
        let text = fs::read_to_string(path).map_err(|source| RecipeError::Read { path: path.into(), source })?;
        // From text, so that an error tells the line.
        let recipe = serde_yaml::from_str(&text).map_err(|source| RecipeError::Yaml { path: path.into(), source })?;
        Self::placed(recipe, path)
    }

    /// A recipe from values that were read from the file `path`, and perhaps changed.
    ///
    /// # Errors
    /// As [`Recipe::load`].
    pub fn from_value(value: serde_yaml::Value, path: &Path) -> Result<Self, RecipeError> {
        let recipe = serde_yaml::from_value(value).map_err(|source| RecipeError::Yaml { path: path.into(), source })?;
        Self::placed(recipe, path)
    }

    /// Checked, and with paths that no longer depend on where the file `path` is.
    fn placed(mut self, path: &Path) -> Result<Self, RecipeError> {
        let folder = path.parent().unwrap_or(Path::new("."));
        self.set_root(&folder.join(&self.data.root));
        if let Some(teacher) = &mut self.teacher {
            teacher.file = absolute(&folder.join(&teacher.file));
            teacher.cache.iter_mut().for_each(|cache| cache.folder = absolute(&folder.join(&cache.folder)));
        }
        self.weights = self.weights.map(|file| absolute(&folder.join(file)));
        self.check()?;
        Ok(self)
    }

    /// Takes the data from another folder; its path is kept as an absolute one, so that the run finds it from anywhere.
    pub fn set_root(&mut self, root: &Path) {
        self.data.root = absolute(root);
    }

    /// Takes another file as the teacher, where there is one.
    pub fn set_teacher(&mut self, file: &Path) {
        if let Some(teacher) = &mut self.teacher {
            teacher.file = absolute(file);
        }
    }

    /// The same run for a full-precision network, without a teacher: what this recipe's teacher of the same topology is
    /// trained by. Sets without labels are left out.
    pub fn in_full_precision(mut self) -> Self {
        self.data.train.retain(|set| !set.unlabelled);
        self.stages.iter_mut().for_each(|stage| stage.binary = BinaryLayers::None);
        Self { teacher: None, transfer: Vec::new(), ..self }
    }

    /// Does the stage learn from the teacher at any time?
    pub fn is_taught(&self, stage: &Stage) -> bool {
        self.transfer.iter().any(|tap| tap.weight.is_active(stage))
    }

    /// Are the teacher's features kept on disk?
    pub fn has_cache(&self) -> bool {
        self.teacher.as_ref().is_some_and(|teacher| teacher.cache.is_some())
    }

    /// The network to train.
    ///
    /// # Errors
    /// If the specification is out of range; a recipe that was loaded has been checked.
    pub fn build_network(&self) -> Result<Network, NetworkError> {
        self.network.build()
    }

    /// The sizes that a training picture can have.
    pub fn windows(&self) -> Vec<InputSize> {
        if self.windows.is_empty() { vec![self.window.unwrap_or(self.network.input)] } else { self.windows.clone() }
    }

    /// Checks every value.
    ///
    /// # Errors
    /// Names the first key whose value is wrong.
    pub fn check(&self) -> Result<(), RecipeError> {
        let network = self.build_network()?;
        check(self.windows.is_empty() || self.window.is_none(), "windows", "either one 'window' or several 'windows'")?;
        let key = if self.windows.is_empty() { "window" } else { "windows" };
        for window in self.windows() {
            network.with_input(window).map_err(|e| value(key, format!("{window}: {e}")))?;
        }
        self.data.check(&network, !self.transfer.is_empty())?;
        self.augmentation.check()?;
        self.loss.check()?;
        self.optimizer.check()?;
        check(self.ema.is_none_or(|share| (0.0..1.0).contains(&share)), "ema", "must be 0 to below 1")?;
        check(self.batch >= 1, "batch", "must be at least 1")?;
        check(
            self.shards >= 1 && self.batch.is_multiple_of(self.shards),
            "shards",
            format!("{} does not divide the batch of {}", self.shards, self.batch),
        )?;
        check(self.validate_every >= 1, "validate_every", "must be at least 1")?;
        check(!self.stages.is_empty(), "stages", "at least one is needed")?;
        self.stages.iter().try_for_each(|stage| stage.check(&network))?;
        transfer::check_transfer(self, &network)
    }
}

impl Augmentation {
    fn check(&self) -> Result<(), RecipeError> {
        check_scale(self.scale, "augmentation.scale")?;
        check((0.0..1.0).contains(&self.jitter), "augmentation.jitter", "must be 0 to below 1")?;
        for (key, share) in [
            ("flip", self.flip),
            ("hue", self.hue),
            ("focus", self.focus),
            ("mosaic", self.mosaic),
            ("min_visible", self.min_visible),
        ] {
            check((0.0..=1.0).contains(&share), format!("augmentation.{key}"), "must be 0 to 1")?;
        }
        for (key, factor) in [("saturation", self.saturation), ("exposure", self.exposure)] {
            check((1.0..=10.0).contains(&factor), format!("augmentation.{key}"), "must be 1 to 10")?;
        }
        check((0.0..=1000.0).contains(&self.min_size), "augmentation.min_size", "must be 0 to 1000")
    }
}

impl RegionLossConfig {
    fn check(&self) -> Result<(), RecipeError> {
        for (key, scale) in [
            ("object_scale", self.object_scale),
            ("no_object_scale", self.no_object_scale),
            ("coord_scale", self.coord_scale),
            ("class_scale", self.class_scale),
        ] {
            check((0.0..=1000.0).contains(&scale), format!("loss.{key}"), "must be 0 to 1000")?;
        }
        for (key, share) in [("ignore_iou", self.ignore_iou), ("ignore_share", self.ignore_share)] {
            check((0.0..=1.0).contains(&share), format!("loss.{key}"), "must be 0 to 1")?;
        }
        Ok(())
    }
}

impl Stage {
    fn check(&self, network: &Network) -> Result<(), RecipeError> {
        let key = format!("stages.{}", self.name);
        check((1..=100_000).contains(&self.epochs), format!("{key}.epochs"), "must be 1 to 100000")?;
        self.learning_rate.check(&format!("{key}.learning_rate"), self.epochs)?;
        if let BinaryLayers::Only(names) = &self.binary {
            let wrong = names.iter().find(|name| network.binary_layers().all(|layer| layer != *name));
            let reason = wrong.map(|name| format!("the network has no binary layer '{name}'")).unwrap_or_default();
            check(wrong.is_none(), format!("{key}.binary"), reason)?;
        }
        Ok(())
    }
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

fn check_scale([low, high]: [f32; 2], key: &str) -> Result<(), RecipeError> {
    check(low >= 0.05 && low <= high && high <= 20.0, key, "must be [low, high] with 0.05 <= low <= high <= 20")
}

fn check(holds: bool, key: impl Into<String>, reason: impl Into<String>) -> Result<(), RecipeError> {
    if holds { Ok(()) } else { Err(value(key, reason)) }
}

fn value(key: impl Into<String>, reason: impl Into<String>) -> RecipeError {
    RecipeError::Value { key: key.into(), reason: reason.into() }
}

impl Default for Augmentation {
    /// YOLO-v2's colours and jitter (`yolo-voc.cfg`), moderate enlargement, no mosaic.
    fn default() -> Self {
        Self {
            scale: [0.8, 1.5],
            jitter: 0.2,
            flip: 0.5,
            hue: 0.1,
            saturation: 1.5,
            exposure: 1.5,
            focus: 0.5,
            mosaic: 0.0,
            min_size: 4.0,
            min_visible: 0.3,
        }
    }
}

impl Default for RegionLossConfig {
    fn default() -> Self {
        Self {
            object_scale: 5.0,
            no_object_scale: 1.0,
            coord_scale: 1.0,
            class_scale: 1.0,
            ignore_iou: 0.6,
            ignore_share: 0.5,
            rescore: true,
            warmup_samples: 12_800,
        }
    }
}

fn default_batch() -> usize {
    8
}

fn default_shards() -> usize {
    1
}

fn default_validate_every() -> usize {
    5
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "
network: {topology: darknet-yolo-64, width: 0.25, input: 640x384}
window: 320x224
data:
  root: sets
  train: [{path: streets, repeat: 2}]
  classes: {Car: car}
  oversample: {pedestrian: 3}
augmentation: {scale: [0.5, 2.0]}
batch: 8
shards: 2
stages:
  - {name: one, epochs: 2, binary: none, learning_rate: {peak: 1.0e-3, end: 1.0e-4, warmup: 0.5}}
  - {name: two, epochs: 3, binary: !only [conv2, conv4], learning_rate: {peak: 1.0e-3, end: 0}}
";

    fn load(text: &str) -> Result<Recipe, RecipeError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("recipe.yaml");
        fs::write(&path, text).unwrap();
        Recipe::load(&path)
    }

    #[test]
    fn a_recipe_survives_its_file() {
        let recipe = load(GOOD).unwrap();
        assert!(recipe.data.root.is_absolute() && recipe.data.root.ends_with("sets"));
        assert_eq!(recipe.windows(), [InputSize { width: 320, height: 224 }]);
        assert_eq!(recipe.stages[1].binary, BinaryLayers::Only(["conv2".to_owned(), "conv4".to_owned()].into()));
        assert_eq!(load(&serde_yaml::to_string(&recipe).unwrap()).unwrap(), recipe);
        let weights = load(&format!("{GOOD}weights: net.weights")).unwrap().weights.unwrap();
        assert!(weights.is_absolute() && weights.ends_with("net.weights"));
    }

    #[test]
    fn wrong_keys_and_values_are_named() {
        for (good, bad, message) in [
            ("batch: 8", "batsh: 8", "batsh"),
            ("batch: 8", "batch: many", "batch"),
            ("batch: 8", "batch: 0", "batch: must be at least 1"),
            ("shards: 2", "shards: 3", "shards: 3 does not divide the batch of 8"),
            ("stages:", "stages: []\nsteps:", "steps"),
            ("width: 0.25", "width: -1", "network.width: -1"),
            ("input: 640x384", "input: 640x380", "network.layer"),
            ("window: 320x224", "window: 320x220", "window: "),
            ("window: 320x224", "window: 320", "320"),
            ("window: 320x224", "windows: [320x224, 320x220]", "windows: 320x220"),
            ("window: 320x224", "window: 320x224\nwindows: [320x224]", "windows: either"),
            ("train: [{path: streets, repeat: 2}]", "train: []", "data.train: at least one"),
            ("repeat: 2", "repeat: 0", "data.train[0].repeat"),
            ("{Car: car}", "{Car: car, Van: lorry}", "data.classes.Van: 'lorry'"),
            ("{Car: car}", "{Car: ignore}", "data.classes: no object type"),
            ("repeat: 2", "format: xml", "xml"),
            ("repeat: 2", "names: [a]", "data.train[0].names"),
            ("repeat: 2", "unlabelled: true", "data.train[0].unlabelled: needs the key 'transfer'"),
            ("repeat: 2", "unlabelled: true, labels: here", "data.train[0].unlabelled: such a set has no 'labels'"),
            ("train:", "validation: [{path: a, unlabelled: true}]\n  train:", "data.validation[0].unlabelled: without"),
            ("data:", "data:\n  broken: mend", "mend"),
            ("{pedestrian: 3}", "{pedestrians: 3}", "data.oversample.pedestrians"),
            ("[0.5, 2.0]", "[2.0, 0.5]", "augmentation.scale"),
            ("{scale: [0.5, 2.0]}", "{flip: 1.5}", "augmentation.flip: must be 0 to 1"),
            ("{scale: [0.5, 2.0]}", "{flip: .nan}", "augmentation.flip"),
            ("epochs: 2", "epochs: 0", "stages.one.epochs"),
            ("peak: 1.0e-3, end: 0", "peak: 0, end: 0", "stages.two.learning_rate.peak"),
            ("warmup: 0.5", "warmup: 3", "stages.one.learning_rate.warmup"),
            ("end: 1.0e-4", "steps: []", "stages.one.learning_rate.steps"),
            ("end: 1.0e-4", "steps: [{epoch: 1, factor: 0.1}], end: 0", "stages.one.learning_rate: either"),
            ("end: 1.0e-4, ", "", "stages.one.learning_rate: either"),
            ("end: 1.0e-4", "steps: [{epoch: 2, factor: 0.1}]", "learning_rate.steps[0].epoch"),
            ("end: 1.0e-4", "steps: [{epoch: 1, factor: 0.1}, {epoch: 1, factor: 0.1}]", "learning_rate.steps[1].epoch"),
            ("end: 1.0e-4", "steps: [{epoch: 1, factor: -0.1}]", "learning_rate.steps[0].factor"),
            ("batch: 8", "optimizer: {kind: sgd, beta1: 0.9}", "beta1"),
            ("batch: 8", "optimizer: {kind: sdg}", "sdg"),
            ("batch: 8", "optimizer: {kind: sgd, momentum: 1}", "optimizer.momentum: must be 0 to below 1"),
            ("batch: 8", "optimizer: {kind: sgd, weight_decay: -1}", "optimizer.weight_decay"),
            ("batch: 8", "optimizer: {kind: adam, clip_norm: 0}", "optimizer.clip_norm"),
            ("batch: 8", "binarization: {scale: max}", "max"),
            ("batch: 8", "binarization: {standardize: true}", "standardize"),
            ("batch: 8", "ema: 1", "ema: must be 0 to below 1"),
            ("[conv2, conv4]", "[conv0]", "stages.two.binary: the network has no binary layer 'conv0'"),
        ] {
            assert!(GOOD.contains(good), "{good}");
            let error = load(&GOOD.replacen(good, bad, 1)).expect_err(bad).to_string();
            assert!(error.contains(message), "{bad}: {error}");
        }
        let error = Recipe::load(Path::new("nowhere.yaml")).unwrap_err().to_string();
        assert!(error.contains("nowhere.yaml"), "{error}");
    }

    #[test]
    fn the_recipes_in_the_repository_are_right() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("recipes");
        let recipes: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert!(!recipes.is_empty());
        for path in recipes {
            Recipe::load(&path).unwrap();
        }
    }
}
