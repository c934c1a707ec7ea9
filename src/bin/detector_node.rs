//! The ROS 2 node: camera images in, `vision_msgs/Detection2DArray` out. `docs/ros-interface.md` tells all about it.

use std::process::ExitCode;

fn main() -> ExitCode {
    onebit_detector::node::run()
}
