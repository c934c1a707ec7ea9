//! ONNX Runtime, with which the tests compare.

use super::python::python;
use onebit_detector::onnx;
use ort::{
    environment::Environment,
    session::{Session, builder::GraphOptimizationLevel},
    value::TensorRef,
};
use std::{
    env,
    path::{Path, PathBuf},
    sync::OnceLock,
};

/// One output of a network: its name, its shape `[1, channels, height, width]` and its values.
pub(crate) struct Output {
    pub(crate) name: String,
    pub(crate) shape: Vec<usize>,
    pub(crate) values: Vec<f32>,
}

/// Runs an exported file on an image `[3, height, width]`, 0 to 1; gives all of its outputs.
pub(crate) fn run(file: &[u8], image: &ndarray::Array3<f32>) -> Vec<Output> {
    let mut session = Session::builder(environment())
        .and_then(|b| Ok(b.with_optimization_level(GraphOptimizationLevel::Level3)?))
        .and_then(|b| Ok(b.with_intra_threads(1)?))
        .and_then(|mut b| b.commit_from_memory(file))
        .unwrap_or_else(|e| panic!("ONNX Runtime does not load the file: {e}"));
    let image = image.view().insert_axis(ndarray::Axis(0));
    let input = TensorRef::from_array_view(image).unwrap();
    let outputs = session.run(ort::inputs![onnx::INPUT => input]).unwrap();
    let output = |(name, value): (&str, ort::value::ValueRef<'_>)| {
        let array = value.try_extract_array::<f32>().unwrap();
        Output { name: name.into(), shape: array.shape().into(), values: array.iter().copied().collect() }
    };
    outputs.iter().map(output).collect()
}

fn environment() -> &'static Environment {
    static ENVIRONMENT: OnceLock<Environment> = OnceLock::new();
    ENVIRONMENT.get_or_init(|| {
        let library = library();
        let builder = ort::init_from(&library).unwrap_or_else(|e| panic!("{}: {e}", library.display()));
        builder.build().unwrap_or_else(|e| panic!("{}: {e}", library.display()))
    })
}

/// The library that `ORT_DYLIB_PATH` names, or the one in the virtual environment.
fn library() -> PathBuf {
    let installed = || {
        let script = "import glob, onnxruntime; print(*glob.glob(onnxruntime.__path__[0] + '/capi/libonnxruntime.so.*'))";
        python(script, Path::new("")).trim().into()
    };
    env::var_os("ORT_DYLIB_PATH").map_or_else(installed, PathBuf::from)
}
