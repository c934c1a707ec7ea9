//! Tells the program of which commit it is, for the provenance of the models that it packs.

use std::process::Command;

fn main() {
    // Where this is no git repository (a published crate, say), the commit is not known and stays empty.
    let git = |arguments: &[&str]| {
        let output = Command::new("git").args(arguments).output().ok().filter(|output| output.status.success())?;
        Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    println!("cargo::rustc-env=ONEBIT_COMMIT={}", git(&["rev-parse", "HEAD"]).unwrap_or_default());
    println!("cargo::rerun-if-changed=build.rs");
    if let Some(log) = git(&["rev-parse", "--git-path", "logs/HEAD"]) {
        println!("cargo::rerun-if-changed={log}");
    }
}
