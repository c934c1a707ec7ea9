//! The plan of an ablation: one recipe, changed in one way after the other, with several seeds.

use super::Gap;
use crate::recipe::{BinaryLayers, Recipe, RecipeError};
use serde::{Deserialize, Serialize};
use serde_yaml::{Mapping, Value};
use std::{
    fs, io,
    path::{Path, PathBuf},
};
use thiserror::Error;

/// What an ablation compares, and on what.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// The recipe that is changed; relative to the plan's own folder.
    pub recipe: PathBuf,
    /// Every variant is trained once with each.
    pub seeds: Vec<u64>,
    /// Name of a variant whose taps are compared: none, each by itself, and the first two, the first three, and so on.
    #[serde(default)]
    pub taps: Option<String>,
    /// Variants by name: what each changes of the recipe. A mapping changes key by key, anything else replaces. The
    /// key `taught_by` names an earlier variant of full precision, whose run with the same seed becomes the teacher, or that
    /// with a given seed.
    #[serde(default)]
    pub variants: Mapping,
    /// Two variants between which the others are placed in a table of its own.
    #[serde(default)]
    pub gap: Option<Gap>,
    /// Frames on which every variant is measured.
    pub evaluation: Vec<EvaluationSet>,
}

/// Labelled frames in KITTI layout that take no part in the training.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EvaluationSet {
    /// Its name in tables.
    pub name: String,
    /// Its folder, relative to the recipe's data root.
    pub path: PathBuf,
    /// Folder of the pictures in it.
    #[serde(default = "image_2")]
    pub images: PathBuf,
    /// Folder of the label files in it.
    #[serde(default = "label_2")]
    pub labels: PathBuf,
    /// IoU that counts as found, for every class; the classes' own if it is missing.
    #[serde(default)]
    pub min_overlap: Option<f64>,
}

fn image_2() -> PathBuf {
    "image_2".into()
}

fn label_2() -> PathBuf {
    "label_2".into()
}

/// A plan that cannot be used, and why.
#[derive(Debug, Error)]
pub enum PlanError {
    /// The file cannot be read.
    #[error("{}: {source}", path.display())]
    Read {
        /// The plan or its recipe.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The file is no plan, or its recipe no YAML.
    #[error("{}: {source}", path.display())]
    Yaml {
        /// The plan or its recipe.
        path: PathBuf,
        /// What is wrong, and where.
        source: serde_yaml::Error,
    },
    /// Nothing to compare or to measure.
    #[error("{key}: {reason}")]
    Key {
        /// The key of the plan.
        key: String,
        /// What would be right.
        reason: String,
    },
    /// A variant is no recipe.
    #[error("variant '{variant}': {source}")]
    Variant {
        /// Its name.
        variant: String,
        /// What is wrong with the changed recipe.
        source: RecipeError,
    },
}

/// One training run of an ablation.
#[derive(Clone, Debug, PartialEq)]
pub struct Trial {
    /// Name of the variant.
    pub variant: String,
    /// Its seed, which is the recipe's too.
    pub seed: u64,
    /// The changed recipe.
    pub recipe: Recipe,
    /// The run that is the teacher, in place of the recipe's file.
    pub taught_by: Option<TeacherRun>,
}

/// A run that teaches another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TeacherRun {
    /// Name of its variant.
    pub variant: String,
    /// Its seed.
    pub seed: u64,
}

impl TeacherRun {
    /// Is this the trial that teaches?
    pub(super) fn is(&self, trial: &Trial) -> bool {
        trial.variant == self.variant && trial.seed == self.seed
    }
}

/// A variant before it is read as a recipe.
struct Variant {
    name: String,
    recipe: Value,
    taught_by: Option<TaughtBy>,
}

/// What teaches a variant.
#[derive(Clone, Deserialize)]
#[serde(untagged, deny_unknown_fields)]
enum TaughtBy {
    /// The run of this variant with the same seed.
    Variant(String),
    /// One run, whatever the seed.
    Run { variant: String, seed: u64 },
}

impl TaughtBy {
    fn with_seed(&self, seed: u64) -> TeacherRun {
        match self {
            Self::Variant(variant) => TeacherRun { variant: variant.clone(), seed },
            Self::Run { variant, seed } => TeacherRun { variant: variant.clone(), seed: *seed },
        }
    }
}

/// The file that a run which teaches is written to.
pub(super) const TEACHER: &str = "teacher.onnx";

/// The key of a variant that names its teacher among the variants.
const TAUGHT_BY: &str = "taught_by";

impl Plan {
    /// Reads a plan; its recipe becomes an absolute path.
    ///
    /// # Errors
    /// Names the file and the key.
    pub fn load(path: &Path) -> Result<Self, PlanError> {
        let text = fs::read_to_string(path).map_err(|source| PlanError::Read { path: path.into(), source })?;
        let mut plan: Self = serde_yaml::from_str(&text).map_err(|source| PlanError::Yaml { path: path.into(), source })?;
        plan.recipe = path.parent().unwrap_or(Path::new(".")).join(&plan.recipe);
        Ok(plan)
    }

    /// Every run, seed after seed, so that an ablation that is cut short still compares all variants.
    ///
    /// # Errors
    /// If the recipe cannot be read or a changed one is none; if there is nothing to compare or to measure on.
    pub fn trials(&self) -> Result<Vec<Trial>, PlanError> {
        let key = |key: &str, reason: &str| Err(PlanError::Key { key: key.into(), reason: reason.into() });
        if self.seeds.is_empty() {
            return key("seeds", "at least one is needed");
        }
        if self.evaluation.is_empty() {
            return key("evaluation", "at least one set of frames is needed");
        }
        let path = &self.recipe;
        let text = fs::read_to_string(path).map_err(|source| PlanError::Read { path: path.into(), source })?;
        let base: Value = serde_yaml::from_str(&text).map_err(|source| PlanError::Yaml { path: path.into(), source })?;
        let variants = self.changed(&base)?;
        if variants.is_empty() {
            return key("variants", "nothing is compared: name some");
        }
        let ends = self.gap.iter().flat_map(|Gap { from, to }| [("gap.from", from), ("gap.to", to)]);
        for (end, name) in ends {
            if variants.iter().all(|variant| variant.name != *name) {
                return key(end, &format!("there is no variant '{name}'"));
            }
        }
        let mut trials = Vec::with_capacity(self.seeds.len() * variants.len());
        for &seed in &self.seeds {
            for Variant { name, recipe, taught_by } in &variants {
                let seeded = merge(recipe.clone(), Value::Mapping([("seed".into(), seed.into())].into_iter().collect()));
                let recipe = Recipe::from_value(seeded, path)
                    .map_err(|source| PlanError::Variant { variant: name.clone(), source })?;
                let trial = Trial {
                    variant: name.clone(),
                    seed,
                    recipe,
                    taught_by: taught_by.as_ref().map(|by| by.with_seed(seed)),
                };
                check_teacher(&trial, &trials)?;
                trials.push(trial);
            }
        }
        Ok(trials)
    }

    /// The recipe as each variant has it.
    fn changed(&self, base: &Value) -> Result<Vec<Variant>, PlanError> {
        let mut variants = Vec::new();
        for (name, change) in &self.variants {
            let named = name.as_str().filter(|name| is_folder_name(name));
            let Some(name) = named else {
                let reason = "a variant's name becomes a folder's: letters, digits, '-', '_', '+' and '.'";
                return Err(PlanError::Key { key: "variants".into(), reason: reason.into() });
            };
            let mut change = change.clone();
            let taught_by = change.as_mapping_mut().and_then(|change| change.remove(TAUGHT_BY));
            let taught_by = taught_by.map(serde_yaml::from_value).transpose();
            let taught_by = taught_by.map_err(|_| no_teacher(name, "a name, or {variant: NAME, seed: N}, of"))?;
            let mut recipe = merge(base.clone(), change);
            if let (Some(_), Some(recipe)) = (&taught_by, recipe.as_mapping_mut()) {
                // Only a name so far: where the file will lie is known once the ablation runs.
                let file = Value::Mapping([("file".into(), TEACHER.into())].into_iter().collect());
                recipe.insert("teacher".into(), file);
            }
            variants.push(Variant { name: name.to_owned(), recipe, taught_by });
        }
        if let Some(name) = &self.taps {
            let Some(variant) = variants.iter().find(|variant| variant.name == *name) else {
                return Err(PlanError::Key { key: "taps".into(), reason: format!("there is no variant '{name}'") });
            };
            variants.extend(tap_variants(variant)?);
        }
        Ok(variants)
    }
}

fn is_folder_name(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-_+.".contains(c);
    !name.is_empty() && !name.starts_with('.') && name.chars().all(allowed)
}

/// A variant can only be taught by one that is trained before it and ends in full precision.
fn check_teacher(trial: &Trial, earlier: &[Trial]) -> Result<(), PlanError> {
    let Some(run) = &trial.taught_by else { return Ok(()) };
    let full = |trial: &Trial| trial.recipe.stages.last().is_some_and(|stage| stage.binary == BinaryLayers::None);
    match earlier.iter().any(|teacher| run.is(teacher) && full(teacher)) {
        true => Ok(()),
        false => Err(no_teacher(&trial.variant, &format!("'{}' with seed {} is not", run.variant, run.seed))),
    }
}

fn no_teacher(variant: &str, found: &str) -> PlanError {
    let reason = format!("{found} a run, earlier in the plan, of a variant whose last stage has 'binary: none'");
    PlanError::Key { key: format!("variants.{variant}.{TAUGHT_BY}"), reason }
}

/// A variant without taps, with each by itself, and with the first ones.
fn tap_variants(whole: &Variant) -> Result<Vec<Variant>, PlanError> {
    let taps = whole.recipe.get("transfer").and_then(Value::as_sequence).cloned().unwrap_or_default();
    if taps.is_empty() {
        let reason = format!("the variant '{}' has none in 'transfer'", whole.name);
        return Err(PlanError::Key { key: "taps".into(), reason });
    }
    let with = |name: String, chosen: &[Value]| {
        let mut recipe = whole.recipe.clone();
        let mapping = recipe.as_mapping_mut().expect("it has the key 'transfer'");
        if chosen.is_empty() {
            mapping.remove("teacher");
            mapping.remove("transfer");
            // Nothing is learned from a set without labels then.
            let sets = recipe.get_mut("data").and_then(|data| data.get_mut("train")).and_then(Value::as_sequence_mut);
            sets.into_iter()
                .for_each(|sets| sets.retain(|set| set.get("unlabelled").and_then(Value::as_bool) != Some(true)));
        } else {
            mapping.insert("transfer".into(), Value::Sequence(chosen.to_vec()));
        }
        Variant { name, recipe, taught_by: whole.taught_by.clone().filter(|_| !chosen.is_empty()) }
    };
    let layer = |tap: &Value| tap.get("student").and_then(Value::as_str).unwrap_or("?").to_owned();
    let mut variants = vec![with("no-tap".to_owned(), &[])];
    let single = |(i, tap)| with(format!("only-{}-{}", i + 1, layer(tap)), &taps[i..=i]);
    variants.extend(taps.iter().enumerate().map(single));
    variants.extend((2..taps.len()).map(|count| with(format!("first-{count}"), &taps[..count])));
    Ok(variants)
}

/// `change` over `base`: mappings key by key, everything else as a whole; null takes a key away.
fn merge(base: Value, change: Value) -> Value {
    match (base, change) {
        (Value::Mapping(mut base), Value::Mapping(change)) => {
            for (key, value) in change {
                let old = base.remove(&key);
                if !value.is_null() {
                    base.insert(key, old.map_or(value.clone(), |old| merge(old, value)));
                }
            }
            Value::Mapping(base)
        }
        (base, Value::Null) => base,
        (_, change) => change,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECIPE: &str = "
network: {topology: darknet-yolo, width: 0.125, input: 64x64}
data: {train: [{path: set}, {path: more, unlabelled: true}], classes: {Car: car}}
teacher: {file: teacher.onnx}
transfer:
  - {teacher: a, student: conv8, loss: pkd, weight: 5}
  - {teacher: b, student: conv12, loss: pkd, weight: 5}
  - {teacher: c, student: conv16, loss: pkd, weight: 5}
stages:
  - {name: only, epochs: 2, learning_rate: {peak: 0.001, end: 0.0001}}
";

    fn plan(folder: &Path, text: &str) -> Plan {
        fs::write(folder.join("recipe.yaml"), RECIPE).unwrap();
        fs::write(folder.join("plan.yaml"), text).unwrap();
        Plan::load(&folder.join("plan.yaml")).unwrap()
    }

    #[test]
    fn variants_change_the_recipe_key_by_key() {
        let folder = tempfile::tempdir().unwrap();
        let text = "
recipe: recipe.yaml
seeds: [1, 2]
taps: wide
variants:
  wide: {network: {width: 0.25}}
  alone: {teacher: null, transfer: null, data: {train: [{path: set}]}}
evaluation: [{name: test, path: set}]
";
        let trials = plan(folder.path(), text).trials().unwrap();
        let names: Vec<_> = trials.iter().map(|t| (t.variant.as_str(), t.seed)).collect();
        let once = ["wide", "alone", "no-tap", "only-1-conv8", "only-2-conv12", "only-3-conv16", "first-2"];
        let expected: Vec<_> = [1, 2].into_iter().flat_map(|seed| once.map(|name| (name, seed))).collect();
        assert_eq!(names, expected);
        assert!(trials.iter().all(|t| t.recipe.seed == t.seed));
        let widths: Vec<_> = trials.iter().take(once.len()).map(|t| t.recipe.network.width).collect();
        assert_eq!(widths, [0.25, 0.125, 0.25, 0.25, 0.25, 0.25, 0.25]);
        let taps = |index: usize| -> Vec<_> { trials[index].recipe.transfer.iter().map(|t| t.teacher.as_str()).collect() };
        assert_eq!((taps(0), taps(4), taps(5)), (vec!["a", "b", "c"], vec!["b"], vec!["c"]));
        assert_eq!(taps(6), ["a", "b"]);
        for alone in [1, 2] {
            assert!(taps(alone).is_empty() && trials[alone].recipe.teacher.is_none());
            assert_eq!(trials[alone].recipe.data.train.len(), 1, "without a teacher not the unlabelled set");
        }
    }

    #[test]
    fn a_variant_teaches_a_later_one_if_it_is_of_full_precision() {
        let folder = tempfile::tempdir().unwrap();
        let full = |binary: &str| {
            let stage = format!("{{name: one, epochs: 1, binary: {binary}, learning_rate: {{peak: 0.001, end: 0.001}}}}");
            format!("full: {{teacher: null, transfer: null, data: {{train: [{{path: set}}]}}, stages: [{stage}]}}")
        };
        let own = "own: {taught_by: full}";
        let plan = |variants: &str| {
            let rest = "evaluation: [{name: a, path: a}]";
            plan(folder.path(), &format!("{{recipe: recipe.yaml, seeds: [1, 2], variants: {{{variants}}}, {rest}}}"))
        };
        let taught = |plan: Plan| plan.trials().unwrap().into_iter().map(|trial| trial.taught_by).collect::<Vec<_>>();
        let both = || plan(&format!("{}, {own}", full("none")));
        let by = |seed: u64| (seed > 0).then(|| TeacherRun { variant: "full".into(), seed });
        assert_eq!(taught(both()), [0, 1, 0, 2].map(by));
        let of_taps = Plan { seeds: vec![1], taps: Some("own".into()), ..both() };
        assert_eq!(taught(of_taps), [0, 1, 0, 1, 1, 1, 1].map(by));
        let of_first = plan(&format!("{}, own: {{taught_by: {{variant: full, seed: 1}}}}", full("none")));
        assert_eq!(taught(of_first), [0, 1, 0, 1].map(by));

        let late = format!("{own}, {}", full("none"));
        let binary = format!("{}, {own}", full("all"));
        let nobody = format!("{}, own: {{taught_by: 3}}", full("none"));
        let later = format!("{}, own: {{taught_by: {{variant: full, seed: 2}}}}", full("none"));
        let misspelt = format!("{}, own: {{taught_by: {{variant: full, seed: 1, sed: 2}}}}", full("none"));
        for variants in [late, binary, nobody, later, misspelt] {
            let message = plan(&variants).trials().unwrap_err().to_string();
            assert!(message.starts_with("variants.own.taught_by") && message.contains("binary: none"), "{message}");
        }
    }

    #[test]
    fn plans_that_compare_nothing_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let refused = |text: &str| plan(folder.path(), text).trials().unwrap_err().to_string();
        let sets = "evaluation: [{name: test, path: set}]";
        assert!(refused(&format!("{{recipe: recipe.yaml, seeds: [], {sets}}}")).starts_with("seeds"));
        assert!(refused(&format!("{{recipe: recipe.yaml, seeds: [1], {sets}}}")).starts_with("variants"));
        assert!(refused("{recipe: recipe.yaml, seeds: [1], variants: {a: {}}, evaluation: []}").starts_with("evaluation"));
        for (taps, word) in [("b", "no variant 'b'"), ("a", "'a' has none")] {
            let variants = "variants: {a: {transfer: null}}";
            let message = refused(&format!("{{recipe: recipe.yaml, seeds: [1], taps: {taps}, {variants}, {sets}}}"));
            assert!(message.starts_with("taps") && message.contains(word), "{message}");
        }
        for (ends, word) in [("from: b, to: a", "gap.from: there is no variant 'b'"), ("from: a, to: b", "gap.to")] {
            let rest = format!("variants: {{a: {{}}}}, gap: {{{ends}}}, {sets}");
            let message = refused(&format!("{{recipe: recipe.yaml, seeds: [1], {rest}}}"));
            assert!(message.starts_with(word), "{message}");
        }
        let bad = refused(&format!("{{recipe: recipe.yaml, seeds: [1], variants: {{../x: {{}}}}, {sets}}}"));
        assert!(bad.contains("folder"), "{bad}");
        let bad = refused(&format!("{{recipe: recipe.yaml, seeds: [1], variants: {{wild: {{batch: 0}}}}, {sets}}}"));
        assert!(bad.contains("wild") && bad.contains("batch"), "{bad}");
    }

    #[test]
    fn the_plans_in_the_repository_are_right() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("plans");
        let plans: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert!(!plans.is_empty());
        for path in plans {
            assert!(Plan::load(&path).unwrap().trials().unwrap().len() > 1);
        }
    }
}
