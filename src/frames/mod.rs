//! Where frames and their labels come from offline.

pub mod images;
pub mod kitti;
