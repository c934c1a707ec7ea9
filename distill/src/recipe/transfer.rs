//! The keys `teacher` and `transfer`: who teaches, and what of it the student is to match.

use super::{Recipe, RecipeError, Stage, check};
use onebit_detector::network::Network;
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    path::PathBuf,
};

/// A full-precision network, run by ONNX Runtime.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TeacherConfig {
    /// The ONNX file; relative to the recipe's own folder.
    pub file: PathBuf,
    /// What its input looks like.
    #[serde(default)]
    pub input: TeacherInput,
    /// What it runs on.
    #[serde(default)]
    pub provider: Provider,
    /// Threads that one picture or batch is spread over, on the CPU. They are taken from the student.
    #[serde(default = "one")]
    pub threads: usize,
    /// Where its features are kept, so that it need not run on the same pictures again. It changes no result.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache: Option<CacheConfig>,
}

/// Features on disk; see [`crate::teacher`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CacheConfig {
    /// The folder, which several recipes may share; relative to the recipe's own folder.
    pub folder: PathBuf,
    /// What it may grow to, in units of 10⁹ bytes.
    #[serde(default = "twenty")]
    pub gigabytes: f64,
}

/// What the input of a teacher looks like. The defaults are those of this project's own networks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TeacherInput {
    /// Order of the axes.
    pub layout: Layout,
    /// Order of the colours.
    pub order: ColourOrder,
    /// The value of white, before `mean` and `std`.
    pub range: f32,
    /// Subtracted from each channel, in the input's order.
    pub mean: [f32; 3],
    /// Divides each channel then, in the input's order.
    pub std: [f32; 3],
}

impl Default for TeacherInput {
    fn default() -> Self {
        Self { layout: Layout::Nchw, order: ColourOrder::Rgb, range: 1.0, mean: [0.0; 3], std: [1.0; 3] }
    }
}

/// Order of an input's axes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Layout {
    /// `[batch, channels, height, width]`.
    #[default]
    Nchw,
    /// `[batch, height, width, channels]`.
    Nhwc,
}

/// Order of an input's colours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ColourOrder {
    /// Red, green, blue.
    #[default]
    Rgb,
    /// Blue, green, red.
    Bgr,
}

/// What ONNX Runtime runs a teacher on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Provider {
    /// The processor.
    #[default]
    Cpu,
    /// An NVIDIA GPU; needs a library of ONNX Runtime that was built for it.
    Cuda,
}

/// A tensor of the teacher that a layer of the student is to match.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TapConfig {
    /// The tensor's name in the teacher's graph; `distill teacher inspect` lists them.
    pub teacher: String,
    /// The layer's name in the student; its output after the activation is what is compared.
    pub student: String,
    /// How the two are compared.
    pub loss: TransferLoss,
    /// Factor on the loss.
    pub weight: TapWeight,
    /// Divides the features of [`TransferLoss::Cwd`] before the softmax; 1 if it is missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f32>,
}

impl TapConfig {
    /// Column of the metrics: loss and student's layer, such as `pkd_conv12`.
    pub fn name(&self) -> String {
        format!("{}_{}", self.loss, self.student)
    }
}

/// How features are compared; formulas in [`crate::transfer`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TransferLoss {
    /// Mean squared difference.
    L2,
    /// Where the activation lies, over all channels.
    Attention,
    /// Where it lies, in each channel.
    Cwd,
    /// Correlation in each channel.
    Pkd,
    /// Squared difference, weighted towards labelled objects and towards what the teacher attends to.
    Fgd,
    /// Boxes, objectness and classes of a teacher with the same head.
    Output,
}

impl TransferLoss {
    /// Does it compare channel by channel, so that both sides need the same number of them?
    pub fn needs_channels(self) -> bool {
        !matches!(self, Self::Attention)
    }
}

impl fmt::Display for TransferLoss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::L2 => "l2",
            Self::Attention => "attention",
            Self::Cwd => "cwd",
            Self::Pkd => "pkd",
            Self::Fgd => "fgd",
            Self::Output => "output",
        })
    }
}

/// The factor on a tap's loss: one for all stages, or one for each stage that has the tap.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged, expecting = "must be a number, [start, end], or one of them for each stage by its name")]
pub enum TapWeight {
    /// The same in every stage.
    Always(Course),
    /// By the stage's name; other stages do without the tap.
    Stages(BTreeMap<String, Course>),
}

/// A factor over one stage.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged, expecting = "must be a number or [start, end]")]
pub enum Course {
    /// The same from start to end.
    Constant(f32),
    /// Evenly from the first to the second.
    Linear([f32; 2]),
}

impl TapWeight {
    /// The factor when this share of the stage, 0 to 1, is done.
    pub fn at(&self, stage: &Stage, share: f32) -> f32 {
        match self.course(stage) {
            None => 0.0,
            Some(Course::Constant(weight)) => weight,
            Some(Course::Linear([start, end])) => start + (end - start) * share,
        }
    }

    /// Does the stage have the tap at any time?
    pub fn is_active(&self, stage: &Stage) -> bool {
        self.course(stage).is_some_and(|course| course.ends() != [0.0; 2])
    }

    fn course(&self, stage: &Stage) -> Option<Course> {
        match self {
            Self::Always(course) => Some(*course),
            Self::Stages(courses) => courses.get(&stage.name).copied(),
        }
    }

    fn check(&self, key: &str, stages: &[Stage]) -> Result<(), RecipeError> {
        match self {
            Self::Always(course) => course.check(key)?,
            Self::Stages(courses) => {
                for (name, course) in courses {
                    let known = stages.iter().any(|stage| stage.name == *name);
                    check(known, format!("{key}.{name}"), "no stage has this name")?;
                    course.check(&format!("{key}.{name}"))?;
                }
            }
        }
        check(stages.iter().any(|stage| self.is_active(stage)), key, "is 0 in every stage")
    }
}

impl Course {
    fn ends(self) -> [f32; 2] {
        match self {
            Self::Constant(weight) => [weight; 2],
            Self::Linear(ends) => ends,
        }
    }

    fn check(self, key: &str) -> Result<(), RecipeError> {
        check(self.ends().iter().all(|weight| (0.0..=1e6).contains(weight)), key, "must be 0 to 1000000")
    }
}

/// Checks both keys of a recipe.
pub(super) fn check_transfer(recipe: &Recipe, network: &Network) -> Result<(), RecipeError> {
    let Recipe { teacher, transfer, .. } = recipe;
    check(teacher.is_some() || transfer.is_empty(), "transfer", "needs the key 'teacher' beside it")?;
    check(teacher.is_none() || !transfer.is_empty(), "teacher", "needs the key 'transfer' beside it: what is it to teach?")?;
    teacher.iter().try_for_each(TeacherConfig::check)?;
    let mut names = BTreeSet::new();
    for (index, tap) in transfer.iter().enumerate() {
        let key = format!("transfer[{index}]");
        tap.check(&key, network, &recipe.stages)?;
        let reason = format!("'{}' has the loss '{}' twice", tap.student, tap.loss);
        check(names.insert(tap.name()), format!("{key}.student"), reason)?;
    }
    Ok(())
}

impl TeacherConfig {
    fn check(&self) -> Result<(), RecipeError> {
        let TeacherInput { range, mean, std, .. } = self.input;
        let positive = |value: f32| value > 0.0 && value.is_finite();
        check(positive(range), "teacher.input.range", "must be above 0")?;
        check(mean.iter().all(|m| m.is_finite()), "teacher.input.mean", "must be three numbers")?;
        check(std.into_iter().all(positive), "teacher.input.std", "must be three numbers above 0")?;
        check((1..=256).contains(&self.threads), "teacher.threads", "must be 1 to 256")?;
        let gigabytes = self.cache.as_ref().map(|cache| cache.gigabytes);
        check(gigabytes.is_none_or(|g| (0.0..=1e9).contains(&g)), "teacher.cache.gigabytes", "must be 0 to 1000000000")
    }
}

impl TapConfig {
    fn check(&self, key: &str, network: &Network, stages: &[Stage]) -> Result<(), RecipeError> {
        let student = format!("{key}.student");
        let index = network.layers().iter().position(|layer| layer.name == self.student);
        check(index.is_some(), &student, format!("the network has no layer '{}'", self.student))?;
        let last = network.layers().len() - 1;
        if self.loss == TransferLoss::Output {
            let reason = format!("the loss 'output' compares the last layer, '{}'", network.layers()[last].name);
            check(index == Some(last), student, reason)?;
        }
        self.weight.check(&format!("{key}.weight"), stages)?;
        if let Some(temperature) = self.temperature {
            let key = format!("{key}.temperature");
            check(self.loss == TransferLoss::Cwd, &key, "only the loss 'cwd' has one")?;
            check(temperature > 0.0 && temperature <= 1000.0, key, "must be above 0 and at most 1000")?;
        }
        Ok(())
    }
}

fn one() -> usize {
    1
}

fn twenty() -> f64 {
    20.0
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "
network: {topology: darknet-yolo-64, width: 0.25}
data: {train: [{path: streets}], classes: {Car: car}}
stages:
  - {name: one, epochs: 2, learning_rate: {peak: 1.0e-3, end: 0}}
  - {name: two, epochs: 2, learning_rate: {peak: 1.0e-3, end: 0}}
teacher: {file: teacher.onnx, input: {order: bgr, range: 255, mean: [103.5, 116.3, 123.7], std: [57, 57, 58]}, threads: 2, cache: {folder: features}}
transfer:
  - {teacher: Conv_200, student: conv10, loss: pkd, weight: 5}
  - {teacher: Conv_201, student: conv16, loss: cwd, weight: [5, 1], temperature: 4}
  - {teacher: heads, student: prediction, loss: output, weight: {two: [0, 2]}}
";

    fn parse(text: &str) -> Result<Recipe, String> {
        let recipe: Recipe = serde_yaml::from_str(text).map_err(|e| e.to_string())?;
        recipe.check().map_err(|e| e.to_string())?;
        Ok(recipe)
    }

    #[test]
    fn weights_follow_their_stages() {
        let recipe = parse(GOOD).unwrap();
        let weights = |stage: usize, share| recipe.transfer.iter().map(move |tap| (stage, tap.weight.clone(), share));
        let at = |stage: usize, share: f32| -> Vec<f32> {
            weights(stage, share).map(|(stage, weight, share)| weight.at(&recipe.stages[stage], share)).collect()
        };
        assert_eq!(at(0, 0.0), [5.0, 5.0, 0.0]);
        assert_eq!(at(0, 0.5), [5.0, 3.0, 0.0]);
        assert_eq!(at(1, 0.5), [5.0, 3.0, 1.0]);
        let active = |stage: usize| recipe.transfer.iter().map(|tap| tap.weight.is_active(&recipe.stages[stage])).collect();
        let (first, second): (Vec<bool>, Vec<bool>) = (active(0), active(1));
        assert_eq!((first, second), (vec![true, true, false], vec![true; 3]));
        assert_eq!(recipe.transfer[1].name(), "cwd_conv16");
    }

    #[test]
    fn a_transfer_survives_its_file() {
        let recipe = parse(GOOD).unwrap();
        assert_eq!(parse(&serde_yaml::to_string(&recipe).unwrap()).unwrap(), recipe);
    }

    #[test]
    fn wrong_keys_and_values_are_named() {
        let no_transfer = GOOD.split("transfer:").next().unwrap();
        let error = parse(no_transfer).unwrap_err();
        assert!(error.starts_with("teacher: needs the key 'transfer'"), "{error}");
        for (good, bad, message) in [
            ("teacher: {file", "# {file", "transfer: needs the key 'teacher'"),
            ("order: bgr", "order: grb", "grb"),
            ("range: 255", "range: 0", "teacher.input.range: must be above 0"),
            ("std: [57, 57, 58]", "std: [57, 57, 0]", "teacher.input.std"),
            ("std: [57, 57, 58]", "std: [57]", "teacher.input.std"),
            ("mean: [103.5,", "mean: [.nan,", "teacher.input.mean"),
            ("threads: 2", "threads: 0", "teacher.threads"),
            ("threads: 2", "provider: tpu", "tpu"),
            ("cache: {folder: features}", "cache: {gigabytes: 1}", "folder"),
            ("{folder: features}", "{folder: features, size: 1}", "size"),
            ("{folder: features}", "{folder: features, gigabytes: -1}", "teacher.cache.gigabytes: must be 0 to"),
            ("{folder: features}", "{folder: features, gigabytes: .nan}", "teacher.cache.gigabytes"),
            ("student: conv10", "student: conv11", "transfer[0].student: the network has no layer 'conv11'"),
            ("student: conv10", "studend: conv10", "studend"),
            ("loss: pkd", "loss: pcd", "pcd"),
            ("conv10, loss: pkd", "conv16, loss: cwd", "transfer[1].student: 'conv16' has the loss 'cwd' twice"),
            ("weight: 5}", "weight: -5}", "transfer[0].weight: must be 0 to"),
            ("weight: 5}", "weight: [0, 0]}", "transfer[0].weight: is 0 in every stage"),
            ("weight: 5}", "weight: much}", "must be a number, [start, end], or one of them for each stage"),
            ("{two: [0, 2]}", "{three: 1}", "transfer[2].weight.three: no stage has this name"),
            ("student: prediction", "student: conv29", "transfer[2].student: the loss 'output' compares the last layer"),
            ("loss: pkd", "temperature: 2, loss: pkd", "transfer[0].temperature: only the loss 'cwd'"),
            ("temperature: 4", "temperature: 0", "transfer[1].temperature"),
        ] {
            assert!(GOOD.contains(good), "{good}");
            let error = parse(&GOOD.replacen(good, bad, 1)).expect_err(bad);
            assert!(error.contains(message), "{bad}: {error}");
        }
    }
}
