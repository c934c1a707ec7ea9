//! Where frames come from offline: image files and KITTI's label files.

pub mod images;
pub mod kitti;
