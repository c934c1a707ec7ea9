//! Why a teacher cannot be used.

use onebit_detector::network::InputSize;
use std::{io, path::PathBuf};
use thiserror::Error;

/// A teacher that cannot be used, and why.
#[derive(Debug, Error)]
pub enum TeacherError {
    /// Nobody says where ONNX Runtime is.
    #[error(
        "ORT_DYLIB_PATH must name the library of ONNX Runtime, 1.24 or later: libonnxruntime.so.1.x.y, in the folder \
         onnxruntime/capi of the Python package onnxruntime"
    )]
    NoLibrary,
    /// ONNX Runtime is missing or too old.
    #[error("ORT_DYLIB_PATH, {}: not a library of ONNX Runtime 1.24 or later: {reason}", path.display())]
    Library {
        /// The library.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The file cannot be read.
    #[error("{}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The file is no network that can teach.
    #[error("{}: {reason}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The graph has no tensor of this name.
    #[error("{}: the graph has no tensor '{name}'; 'distill teacher inspect' lists them", path.display())]
    NoTensor {
        /// The file.
        path: PathBuf,
        /// The name.
        name: String,
    },
    /// The input is of another size.
    #[error("{}: reads pictures of {wanted}, not of {found}", path.display())]
    Size {
        /// The file.
        path: PathBuf,
        /// What the file says: width, height, `?` for any.
        wanted: String,
        /// The pictures' size.
        found: InputSize,
    },
    /// ONNX Runtime cannot run the network.
    #[error("{}: {reason}", path.display())]
    Run {
        /// The file.
        path: PathBuf,
        /// What ONNX Runtime says.
        reason: String,
    },
    /// The folder of the cache cannot be used.
    #[error("teacher.cache.folder: {}: {source}", folder.display())]
    Cache {
        /// The folder.
        folder: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A tensor that is no feature map.
    #[error("{}: tensor '{name}': {reason}", path.display())]
    Tensor {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// What it is, and what would be right.
        reason: String,
    },
}
