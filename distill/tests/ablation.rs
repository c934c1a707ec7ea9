//! A whole ablation: runs trained, measured, shared out and told in one table.

use onebit_distill::{
    ablation::{self, Plan, SCORES, Share},
    device::Compute,
};
use std::{fs, path::Path};

mod support;

const CPU: &[Compute] = &[Compute::Cpu];

const PLAN: &str = "
recipe: recipe.yaml
seeds: [1, 2]
variants:
  binary: {}
  full: {stages: [{name: full, epochs: 1, binary: none, learning_rate: {peak: 1.0e-3, end: 1.0e-3}}]}
  taught: {taught_by: full, transfer: [{teacher: prediction, student: prediction, loss: output, weight: 1}]}
evaluation: [{name: four, path: set, min_overlap: 0.5}]
";

#[test]
fn every_variant_is_trained_and_measured_once() {
    let folder = tempfile::tempdir().unwrap();
    let stage = "stages: [{name: binary, epochs: 1, learning_rate: {peak: 1.0e-3, end: 1.0e-3}}]";
    support::loaded(folder.path(), "mobilenet-yolo", stage);
    fs::write(folder.path().join("plan.yaml"), PLAN).unwrap();
    let plan = Plan::load(&folder.path().join("plan.yaml")).unwrap();
    let trials = plan.trials().unwrap();
    let out = folder.path().join("out");

    assert!(ablation::table(&trials, &out, "moderate").unwrap().is_empty());
    ablation::run(&plan, &trials, &out, "1/3".parse().unwrap(), CPU).unwrap();
    let measured = |variant: &str, seed: u32| out.join(variant).join(format!("seed-{seed}")).join(SCORES);
    assert!(measured("binary", 1).exists() && measured("binary", 2).exists(), "every third run is one of these");
    assert!(!measured("full", 1).exists());
    let message = ablation::run(&plan, &trials, &out, "3/3".parse().unwrap(), CPU).unwrap_err().to_string();
    assert!(message.contains("taught by") && message.contains("full"), "{message}");

    let before = fs::metadata(measured("binary", 1)).unwrap().modified().unwrap();
    ablation::run(&plan, &trials, &out, Share::ALL, CPU).unwrap();
    assert_eq!(fs::metadata(measured("binary", 1)).unwrap().modified().unwrap(), before, "what is measured stays");
    let table = ablation::table(&trials, &out, "moderate").unwrap();
    let text = table.to_string();
    assert!(text.contains("| four car |") && text.contains("| binary | 2 |") && text.contains("| full | 2 |"), "{text}");
    assert!(text.contains("| taught | 2 |"), "{text}");
    assert_eq!(table.to_csv().lines().count(), 1 + 3 * 2 * 9, "three classes at three difficulties");
}

/// `docs/proof.md` has the tables that `distill ablate --table` prints of the scores beside it; of easy objects the gains only.
#[test]
fn documented_tables_are_those_of_the_scores() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let page = fs::read_to_string(root.join("docs/proof.md")).unwrap();
    for (name, difficulty) in [("proof", "moderate"), ("proof", "easy"), ("widths", "moderate"), ("taps", "moderate")] {
        let plan = Plan::load(&root.join("distill/plans").join(name).with_extension("yaml")).unwrap();
        let table = ablation::table(&plan.trials().unwrap(), &root.join("docs").join(name), difficulty).unwrap();
        let gains = plan.gap.as_ref().map(|gap| gap.gains(&table).to_string());
        let means = (difficulty == "moderate").then(|| table.to_string());
        let text: Vec<_> = [means, gains].into_iter().flatten().collect();
        let lines: Vec<_> = text.iter().flat_map(|text| text.lines()).filter(|line| line.starts_with('|')).collect();
        assert!(lines.len() > 4, "there are scores for {name} at {difficulty}");
        for line in lines {
            assert!(page.contains(line), "docs/proof.md lacks the line: {line}");
        }
    }
}
