# Source me (bash): the environment that scripts/setup.sh made. With a sourced ROS 2 it adds to that one; without, it
# brings ROS 2 Jazzy from wheels.
_scripts=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
_cache=${ONEBIT_CACHE:-$HOME/.cache/onebit_detector}

# Python with ONNX Runtime, NumPy, safetensors, colcon; and ONNX Runtime's library for the crate ort.
export ONEBIT_PYTHON="$_cache/python/bin/python"
ORT_DYLIB_PATH=$(echo "$_cache"/python/lib/python3.*/site-packages/onnxruntime/capi/libonnxruntime.so.1.*)
export ORT_DYLIB_PATH

# The folder in which an environment has a ROS package, if any.
onebit_find_ros_package() {
  local prefix
  for prefix in ${AMENT_PREFIX_PATH//:/ }; do
    [ -e "$prefix/share/$1/package.xml" ] && { echo "$prefix"; return; }
  done
  return 0
}

if [ -z "${ROS_DISTRO:-}" ] || [ -n "${ONEBIT_ROS_WHEELS:-}" ]; then
  _ros="$_cache/ros"
  export ONEBIT_ROS_WHEELS=1 ROS_DISTRO=jazzy ROS_VERSION=2 ROS_PYTHON_VERSION=3 RMW_IMPLEMENTATION=rmw_fastrtps_cpp
  export AMENT_PREFIX_PATH="$_ros" CMAKE_PREFIX_PATH="$_ros"
  export LD_LIBRARY_PATH="$_ros/lib"
  for _libs in "$_ros"/lib/python3.*/site-packages/ros_*.libs; do LD_LIBRARY_PATH+=":$_libs"; done
  case ":$PATH:" in *":$_ros/bin:"*) ;; *) export PATH="$_ros/bin:$PATH" ;; esac
  # Every python of the wheels re-executes itself once to set LD_LIBRARY_PATH, unless:
  export _ROS_WHEELS_BOOTSTRAP_COMPLETE=1
  export ONEBIT_ROS_PYTHON="$_ros/bin/python"
else
  export ONEBIT_ROS_PYTHON="$_cache/python/bin/python" # rclpy comes by PYTHONPATH
fi

# vision_msgs, if it was built here.
if [ -d "$_cache/vision_msgs/share" ] && [ -z "$(onebit_find_ros_package vision_msgs)" ]; then
  export AMENT_PREFIX_PATH="$_cache/vision_msgs:$AMENT_PREFIX_PATH" CMAKE_PREFIX_PATH="$_cache/vision_msgs:${CMAKE_PREFIX_PATH:-}"
  export LD_LIBRARY_PATH="$_cache/vision_msgs/lib:${LD_LIBRARY_PATH:-}"
  for _site in "$_cache"/vision_msgs/{lib,local/lib}/python3*/*-packages; do
    [ -d "$_site" ] && export PYTHONPATH="$_site${PYTHONPATH:+:$PYTHONPATH}"
  done
fi

# r2r makes its message bindings anew whenever AMENT_PREFIX_PATH changes. colcon puts the package's own install folder
# first, so it stands there from the beginning.
export ONEBIT_COLCON="$_cache/colcon"
case ":$AMENT_PREFIX_PATH:" in
  *":$ONEBIT_COLCON/install/onebit_detector:"*) ;;
  *) export AMENT_PREFIX_PATH="$ONEBIT_COLCON/install/onebit_detector:$AMENT_PREFIX_PATH" ;;
esac
# Only the messages that the node uses, and what those use.
export IDL_PACKAGE_FILTER="builtin_interfaces;std_msgs;sensor_msgs;geometry_msgs;vision_msgs;diagnostic_msgs;lifecycle_msgs;rosgraph_msgs;rcl_interfaces;type_description_interfaces;service_msgs;std_srvs;action_msgs;unique_identifier_msgs"
unset CMAKE_IDL_PACKAGES

# bindgen: libclang from its wheel, which has no compiler headers (stdbool.h ...), so gcc's.
if [ -z "${LIBCLANG_PATH:-}" ]; then
  LIBCLANG_PATH=$(echo "$_cache"/python/lib/python3.*/site-packages/clang/native)
  export LIBCLANG_PATH
  BINDGEN_EXTRA_CLANG_ARGS="-isystem $(gcc -print-file-name=include)"
  export BINDGEN_EXTRA_CLANG_ARGS
fi

# Stay on this machine, and carry large images in shared memory.
export ROS_AUTOMATIC_DISCOVERY_RANGE=LOCALHOST
export FASTRTPS_DEFAULT_PROFILES_FILE="$_scripts/../config/fastdds.xml"
case ":$PATH:" in *":$_cache/tools/bin:"*) ;; *) export PATH="$_cache/tools/bin:$PATH:$_cache/python/bin" ;; esac
unset _scripts _cache _ros _libs _site
