//! How good the boxes are.
