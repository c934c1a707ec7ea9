//! The Python with which the tests compare.

use std::{env, path::Path, process::Command};

/// Runs a script with one argument; gives what it prints.
pub(crate) fn python(script: &str, argument: &Path) -> String {
    let program = env::var_os("ONEBIT_PYTHON")
        .expect("ONEBIT_PYTHON must name a Python that has numpy, onnx and safetensors: run the tests by `make test`");
    let output = Command::new(&program).args(["-c", script]).arg(argument).output();
    let output = output.unwrap_or_else(|e| panic!("{}: {e}", program.display()));
    assert!(output.status.success(), "the script failed: {}\n{script}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}
