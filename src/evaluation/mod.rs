//! How good the boxes are.

pub mod kitti;
