//! ONNX Runtime: the library, loaded once, and sessions.

use super::TeacherError;
use crate::recipe::Provider;
use ort::{
    environment::Environment,
    ep::CUDA,
    session::{Session, builder::GraphOptimizationLevel},
};
use std::{
    env,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

/// A session of the network in `bytes`, read from `path`.
pub(super) fn session(path: &Path, bytes: &[u8], provider: Provider, threads: usize) -> Result<Session, TeacherError> {
    let environment = environment()?;
    let build = || -> ort::Result<Session> {
        let mut builder = Session::builder(&environment)?
            .with_optimization_level(GraphOptimizationLevel::Level3)?
            .with_intra_threads(threads)?
            // Threads that spin while they wait would take the student's.
            .with_intra_op_spinning(false)?
            .with_inter_op_spinning(false)?;
        if provider == Provider::Cuda {
            builder = builder.with_execution_providers([CUDA::default().build().error_on_failure()])?;
        }
        builder.commit_from_memory(bytes)
    };
    build().map_err(|e| TeacherError::Run { path: path.into(), reason: e.to_string() })
}

/// The process's one environment of ONNX Runtime.
fn environment() -> Result<Environment, TeacherError> {
    static ENVIRONMENT: Mutex<Option<Environment>> = Mutex::new(None);
    let mut environment = ENVIRONMENT.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(environment) = &*environment {
        return Ok(environment.clone());
    }
    let path = PathBuf::from(env::var_os("ORT_DYLIB_PATH").ok_or(TeacherError::NoLibrary)?);
    let fail = |reason: String| TeacherError::Library { path: path.clone(), reason };
    let builder = ort::init_from(&path).map_err(|e| fail(e.to_string()))?;
    let built = builder.with_name("distill").build().map_err(|e| fail(e.to_string()))?;
    Ok(environment.insert(built).clone())
}
