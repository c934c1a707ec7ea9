//! Runs of the program that are killed and resumed, and what of two runs must be the same.

use std::{
    fs,
    path::Path,
    process::{Child, Command},
    thread,
    time::{Duration, Instant},
};

/// Trains a recipe with the program, which is killed after each of these numbers of steps, then resumed to its end.
pub(crate) fn train_killed_after(steps: &[usize], recipe: &Path, run: &Path) {
    for (times, steps) in steps.iter().enumerate() {
        let mut child = distill(recipe, run, times > 0);
        let start = Instant::now();
        while lines(&run.join("steps.csv")) <= *steps {
            assert!(child.try_wait().unwrap().is_none(), "ended before step {steps}");
            assert!(start.elapsed() < Duration::from_secs(300), "did not reach step {steps}");
            thread::sleep(Duration::from_millis(2));
        }
        child.kill().unwrap(); // SIGKILL
        child.wait().unwrap();
    }
    assert!(distill(recipe, run, true).wait().unwrap().success());
}

/// The program on a recipe.
fn distill(recipe: &Path, run: &Path, resume: bool) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_distill"));
    command.arg("train").arg(recipe).arg("-o").arg(run).args(resume.then_some("--resume"));
    command.spawn().expect("the program is built with its tests")
}

/// Lines in a file that may not be there yet.
pub(crate) fn lines(path: &Path) -> usize {
    fs::read_to_string(path).map_or(0, |text| text.lines().count())
}

/// Two runs wrote the same metrics.
pub(crate) fn assert_same_metrics(one: &Path, other: &Path) {
    for name in ["steps.csv", "epochs.csv"] {
        let [one, other] = [one, other].map(|run| fs::read_to_string(run.join(name)).unwrap());
        assert_eq!(one, other, "{name}");
    }
}
