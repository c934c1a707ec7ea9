//! The graph in an ONNX file, as far as taps need it.

use super::{TeacherError, hex};
use prost::Message;
use sha2::{Digest, Sha256};
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// The part of ONNX's protobuf schema that is read. Unknown fields, the weights among them, are skipped; a file is never
/// written back from this.
#[derive(Clone, PartialEq, Message)]
struct ModelProto {
    #[prost(message, optional, tag = "7")]
    graph: Option<GraphProto>,
}

#[derive(Clone, PartialEq, Message)]
struct GraphProto {
    #[prost(message, repeated, tag = "1")]
    node: Vec<NodeProto>,
    #[prost(message, repeated, tag = "12")]
    output: Vec<ValueInfoProto>,
}

#[derive(Clone, PartialEq, Message)]
struct NodeProto {
    #[prost(string, repeated, tag = "2")]
    output: Vec<String>,
    #[prost(string, tag = "4")]
    op_type: String,
}

#[derive(Clone, PartialEq, Message)]
struct ValueInfoProto {
    #[prost(string, tag = "1")]
    name: String,
}

/// An ONNX file.
pub(super) struct OnnxFile {
    path: PathBuf,
    bytes: Vec<u8>,
    graph: GraphProto,
}

impl OnnxFile {
    pub(super) fn read(path: &Path) -> Result<Self, TeacherError> {
        let bytes = fs::read(path).map_err(|source| TeacherError::Read { path: path.into(), source })?;
        let fail = |reason: String| TeacherError::File { path: path.into(), reason };
        let model = ModelProto::decode(&bytes[..]).map_err(|e| fail(format!("not an ONNX file: {e}")))?;
        let graph = model.graph.filter(|graph| !graph.node.is_empty());
        let graph = graph.ok_or_else(|| fail("not an ONNX file: it has no graph".into()))?;
        Ok(Self { path: path.into(), bytes, graph })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// SHA-256 of the file, in hexadecimal.
    pub(super) fn sha256(&self) -> String {
        hex(&Sha256::digest(&self.bytes))
    }

    /// What the nodes give out, in their order: name of the tensor and type of the node.
    pub(super) fn tensors(&self) -> impl Iterator<Item = (&str, &str)> {
        self.graph.node.iter().flat_map(|NodeProto { output, op_type }| {
            output.iter().filter(|name| !name.is_empty()).map(move |name| (name.as_str(), op_type.as_str()))
        })
    }

    /// The file with these tensors among its outputs, everything else being left as it is: protobuf merges a message that
    /// stands twice, so that it is enough to append one.
    ///
    /// # Errors
    /// Names the tensor that is not in the graph.
    pub(super) fn with_outputs<'a>(&self, names: impl Iterator<Item = &'a str>) -> Result<Vec<u8>, TeacherError> {
        let known: BTreeSet<&str> = self.tensors().map(|(name, _)| name).collect();
        let mut outputs: BTreeSet<&str> = self.graph.output.iter().map(|output| output.name.as_str()).collect();
        let mut added = GraphProto::default();
        for name in names {
            if !known.contains(name) {
                return Err(TeacherError::NoTensor { path: self.path.clone(), name: name.into() });
            }
            if outputs.insert(name) {
                added.output.push(ValueInfoProto { name: name.into() });
            }
        }
        let mut bytes = self.bytes.clone();
        bytes.extend(ModelProto { graph: Some(added) }.encode_to_vec());
        Ok(bytes)
    }
}
