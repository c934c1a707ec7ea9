//! A run on a GPU by Vulkan takes the steps of a run on the CPU, but for rounding.

use onebit_distill::{device::Compute, training::train_on};
use std::{fs, path::Path};

mod support;

/// Layers in full precision, binary ones, and those of standardised weights with learned scales.
const STAGES: &str = "
seed: 5
shards: 2
binarization: {standardise: true, scale: learned}
stages:
  - {name: full, epochs: 2, binary: none, learning_rate: {peak: 1.0e-3, end: 1.0e-3, warmup: 1}}
  - {name: binary, epochs: 3, learning_rate: {peak: 1.0e-3, end: 0}}
";

/// The terms of the loss and the norm of the gradients at each step.
fn steps(run: &Path) -> Vec<Vec<f64>> {
    let text = fs::read_to_string(run.join("steps.csv")).unwrap();
    let names: Vec<_> = text.lines().next().unwrap().split(',').collect();
    let terms: Vec<_> = ["coords", "object", "no_object", "class", "gradient_norm"]
        .map(|term| names.iter().position(|name| *name == term).unwrap())
        .to_vec();
    let row = |row: &str| {
        let values: Vec<_> = row.split(',').collect();
        terms.iter().map(|&term| values[term].parse().unwrap()).collect()
    };
    text.lines().skip(1).map(row).collect()
}

#[test]
fn a_gpu_takes_the_steps_of_the_cpu() {
    for topology in ["darknet-yolo-64", "mobilenet-yolo"] {
        let folder = tempfile::tempdir().unwrap();
        let recipe = support::loaded(folder.path(), topology, STAGES);
        let run = |device, name| {
            let run = folder.path().join(name);
            train_on(&[device], &recipe, &run, false).unwrap();
            steps(&run)
        };
        let (cpu, gpu) = (run(Compute::Cpu, "cpu"), run(Compute::Vulkan, "gpu"));
        assert_eq!(cpu.len(), 10, "two steps an epoch");
        for (step, (cpu, gpu)) in cpu.iter().zip(&gpu).enumerate() {
            for (cpu, gpu) in cpu.iter().zip(gpu) {
                assert!((cpu - gpu).abs() <= 1e-3 * cpu.abs().max(1e-2), "{topology}, step {step}: {cpu} and {gpu}");
            }
        }
    }
}
