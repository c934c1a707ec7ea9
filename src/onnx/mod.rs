//! A model as an ONNX file.
