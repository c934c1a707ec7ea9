//! The recipe's part about frames and labels.

use super::{RecipeError, check, check_scale};
use onebit_detector::network::Network;
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

/// Frames and labels.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataConfig {
    /// Folder of the sets; relative to the recipe's own folder.
    #[serde(default = "default_root")]
    pub root: PathBuf,
    /// Sets to learn from.
    pub train: Vec<SetConfig>,
    /// Sets to measure the loss on.
    #[serde(default)]
    pub validation: Vec<SetConfig>,
    /// Class of the network for each object type of the labels, or `ignore`, or `background`. Every other type is an
    /// ignore region.
    pub classes: BTreeMap<String, String>,
    /// How many times an epoch shows a frame that contains an object of this class; frames without one are shown once.
    #[serde(default)]
    pub oversample: BTreeMap<String, usize>,
    /// What a broken image or label file does to a run.
    #[serde(default)]
    pub broken: Broken,
}

/// In place of a class: a region in which the network is neither taught nor blamed.
const IGNORE: &str = "ignore";
/// In place of a class: as if it were not labelled, so that the network learns to be silent there.
const BACKGROUND: &str = "background";

/// What an object type of the labels is to the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// A class of the network, by its position.
    Class(usize),
    /// An ignore region.
    Ignore,
    /// Nothing.
    Background,
}

/// What a broken image or label file does to a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Broken {
    /// The run stops with the file's name.
    #[default]
    Stop,
    /// The frame is named, counted and left out. Every image is decoded once before the run to find the broken ones.
    Skip,
}

/// How a set's files are laid out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// `image_2/NAME.jpg`, `label_2/NAME.txt`: KITTI's object benchmark.
    #[default]
    Kitti,
    /// `images/NAME.jpg`, `labels/NAME.txt`: Darknet's and Ultralytics' `class cx cy w h`, as shares of the image.
    Yolo,
    /// `images/`, and `annotations.json` for the whole set: COCO's object detection task.
    Coco,
    /// `JPEGImages/NAME.jpg`, `Annotations/NAME.xml`: Pascal VOC.
    Voc,
}

/// One set: a folder of images and one of label files with the same stems, or one file for the whole set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetConfig {
    /// Folder, relative to [`DataConfig::root`].
    pub path: PathBuf,
    /// How the files are laid out.
    #[serde(default)]
    pub format: Format,
    /// Folder of the images within it, `.` for the set's own folder; without it, the one of the [`Format`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub images: Option<PathBuf>,
    /// Folder of the label files within it, or COCO's one file; without it, the one of the [`Format`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<PathBuf>,
    /// Object types by number, for [`Format::Yolo`]; without them, the `names` of the set's `data.yaml`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<String>,
    /// No labels are looked for. Nobody knows what the images show, so that only a teacher's features are learned from them.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unlabelled: bool,
    /// Times that an epoch shows the set.
    #[serde(default = "default_repeat")]
    pub repeat: usize,
    /// Width over height of the scene, where the images of the set were stretched to another shape.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aspect: Option<f32>,
    /// Range of enlargement for this set, in place of [`super::Augmentation::scale`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scale: Option<[f32; 2]>,
}

impl DataConfig {
    /// What a type of the labels is to a network with these classes.
    pub fn role(&self, kind: &str, classes: &[String]) -> Role {
        match self.classes.get(kind).map(String::as_str) {
            Some(BACKGROUND) => Role::Background,
            Some(name) => classes.iter().position(|class| class == name).map_or(Role::Ignore, Role::Class),
            None => Role::Ignore,
        }
    }

    /// `taught`: is there a teacher to learn from?
    pub(super) fn check(&self, network: &Network, taught: bool) -> Result<(), RecipeError> {
        let classes = network.classes();
        let known = |name: &str| classes.iter().any(|class| class == name);
        let reserved = [IGNORE, BACKGROUND];
        check(!self.train.is_empty(), "data.train", "at least one set is needed")?;
        check(!reserved.iter().any(|name| known(name)), "network.classes", "'ignore' and 'background' are no classes")?;
        check(self.classes.values().any(|name| known(name)), "data.classes", "no object type has a class")?;
        for (kind, class) in &self.classes {
            let reason =
                format!("'{class}' is not a class of the network ({}), '{IGNORE}' or '{BACKGROUND}'", classes.join(", "));
            check(known(class) || reserved.contains(&class.as_str()), format!("data.classes.{kind}"), reason)?;
        }
        for (class, times) in &self.oversample {
            let key = format!("data.oversample.{class}");
            check(known(class), &key, format!("not a class of the network ({})", classes.join(", ")))?;
            check((1..=100).contains(times), &key, "must be 1 to 100")?;
        }
        for (list, sets) in [("train", &self.train), ("validation", &self.validation)] {
            for (index, set) in sets.iter().enumerate() {
                set.check(&format!("data.{list}[{index}]"))?;
            }
        }
        for (index, _) in self.train.iter().enumerate().filter(|(_, set)| set.unlabelled) {
            let key = format!("data.train[{index}].unlabelled");
            check(taught, key, "needs the key 'transfer': without a teacher nothing is learned from such a set")?;
        }
        for (index, set) in self.validation.iter().enumerate() {
            let key = format!("data.validation[{index}].unlabelled");
            check(!set.unlabelled, key, "without labels there is no loss to measure")?;
        }
        Ok(())
    }
}

impl SetConfig {
    /// A set in KITTI layout.
    pub fn kitti(path: PathBuf) -> Self {
        let (format, repeat) = (Format::Kitti, default_repeat());
        let (images, labels, names) = (None, None, Vec::new());
        Self { path, format, images, labels, names, unlabelled: false, repeat, aspect: None, scale: None }
    }

    /// Folder of the images within the set.
    pub fn images(&self) -> &Path {
        self.images.as_deref().unwrap_or(Path::new(match self.format {
            Format::Kitti => "image_2",
            Format::Yolo | Format::Coco => "images",
            Format::Voc => "JPEGImages",
        }))
    }

    /// Folder of the label files within the set, or its one file.
    pub fn labels(&self) -> &Path {
        self.labels.as_deref().unwrap_or(Path::new(match self.format {
            Format::Kitti => "label_2",
            Format::Yolo => "labels",
            Format::Coco => "annotations.json",
            Format::Voc => "Annotations",
        }))
    }

    fn check(&self, key: &str) -> Result<(), RecipeError> {
        let named = self.names.is_empty() || self.format == Format::Yolo;
        check(named, format!("{key}.names"), "only label files of format yolo have numbers in place of names")?;
        let nameless = self.labels.is_none() && self.names.is_empty();
        check(!self.unlabelled || nameless, format!("{key}.unlabelled"), "such a set has no 'labels' and no 'names'")?;
        check((1..=1000).contains(&self.repeat), format!("{key}.repeat"), "must be 1 to 1000")?;
        if let Some(aspect) = self.aspect {
            check(aspect > 0.1 && aspect < 10.0, format!("{key}.aspect"), "must be between 0.1 and 10")?;
        }
        self.scale.map_or(Ok(()), |scale| check_scale(scale, &format!("{key}.scale")))
    }
}

fn default_root() -> PathBuf {
    ".".into()
}

fn default_repeat() -> usize {
    1
}
