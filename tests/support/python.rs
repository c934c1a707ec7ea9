//! The Python with which the tests compare, in the virtual environment that `scripts/setup.sh` makes.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

/// Runs a script with one argument; gives what it prints.
pub(crate) fn python(script: &str, argument: &Path) -> String {
    let program = virtual_environment().join("bin/python");
    let output = Command::new(&program).args(["-c", script]).arg(argument).output();
    let output = output.unwrap_or_else(|e| panic!("{}: {e}", program.display()));
    assert!(output.status.success(), "the script failed: {}\n{script}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The folder of the virtual environment, whether `scripts/env.sh` was sourced or not.
fn virtual_environment() -> PathBuf {
    let home = || env::home_dir().map(|home| home.join(".cache/onebit_detector"));
    let cache = env::var_os("ONEBIT_CACHE").map(PathBuf::from).or_else(home).expect("a home directory");
    let folder = cache.join("python");
    assert!(folder.is_dir(), "{} is missing: run scripts/setup.sh once, or the tests by `make test`", folder.display());
    folder
}
