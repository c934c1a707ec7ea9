# To be sourced (bash): the environment in which the project is built, tested and shown.
#   . scripts/env.sh
# A ROS 2 that is sourced already is used as it is. Otherwise this is the ROS 2 that scripts/setup.sh made from wheels.
# ONEBIT_CACHE (default ~/.cache/onebit_detector) is where scripts/setup.sh puts everything; move it as you like.
_root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
export ONEBIT_CACHE="${ONEBIT_CACHE:-$HOME/.cache/onebit_detector}"
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$_root/target}"

# Puts $2 in front of, or at the end of, the path list named $1, once.
_prepend() { case ":${!1:-}:" in *":$2:"*) ;; *) export "$1=$2${!1:+:${!1}}" ;; esac; }
_append() { case ":${!1:-}:" in *":$2:"*) ;; *) export "$1=${!1:+${!1}:}$2" ;; esac; }

if [ -n "${ROS_DISTRO:-}" ] && [ "${ONEBIT_ROS:-}" != wheels ]; then
  export ONEBIT_ROS=sourced
  export ONEBIT_ROS_PYTHON="$ONEBIT_CACHE/ros-python/bin/python"
  # vision_msgs, if setup had to build it: behind the installation, which wins once it has its own.
  _prefix="$ONEBIT_CACHE/vision_msgs-$ROS_DISTRO"
  if [ -e "$_prefix/share/vision_msgs" ]; then
    _append AMENT_PREFIX_PATH "$_prefix"
    _append LD_LIBRARY_PATH "$_prefix/lib"
    for _dir in "$_prefix"/{lib,local/lib}/python3*/{site,dist}-packages; do
      [ ! -d "$_dir" ] || _append PYTHONPATH "$_dir"
    done
  fi
else
  export ONEBIT_ROS=wheels
  _prefix="$ONEBIT_CACHE/ros"
  export ONEBIT_ROS_PYTHON="$_prefix/bin/python"
  export ROS_DISTRO=jazzy ROS_VERSION=2 ROS_PYTHON_VERSION=3 RMW_IMPLEMENTATION=rmw_fastrtps_cpp
  export AMENT_PREFIX_PATH="$_prefix" CMAKE_PREFIX_PATH="$_prefix"
  for _dir in "$_prefix"/lib/python3*/site-packages/ros_*.libs "$_prefix/lib"; do _prepend LD_LIBRARY_PATH "$_dir"; done
  # Every python of this virtual environment starts itself a second time to set LD_LIBRARY_PATH, unless:
  export _ROS_WHEELS_BOOTSTRAP_COMPLETE=1
fi
# colcon puts the package's own install folder first when it tests, and r2r is built again when the list changes. With the
# folder there from the start, the list stays the same.
export ONEBIT_COLCON="$ONEBIT_CACHE/colcon"
_prepend AMENT_PREFIX_PATH "$ONEBIT_COLCON/install/onebit_detector"

# bindgen, which r2r builds with: libclang from its wheel. That has no compiler headers (stdbool.h), gcc's serve.
for _dir in "${ONEBIT_ROS_PYTHON%/bin/python}"/lib/python3*/site-packages/clang/native; do
  export LIBCLANG_PATH="${LIBCLANG_PATH:-$_dir}"
done
export BINDGEN_EXTRA_CLANG_ARGS="${BINDGEN_EXTRA_CLANG_ARGS:--isystem $(gcc -print-file-name=include)}"

# The peers that tests compare with: Python's onnx, onnxruntime, safetensors; ONNX Runtime's library for the crate `ort`.
export ONEBIT_PYTHON="$ONEBIT_CACHE/python/bin/python"
for _dir in "$ONEBIT_CACHE"/python/lib/python3*/site-packages/onnxruntime/capi/libonnxruntime.so.*; do
  export ORT_DYLIB_PATH="$_dir"
done
_prepend PATH "$ONEBIT_CACHE/tools/bin"

# The demo and the tests stay on this machine, and carry large images in shared memory.
export ROS_AUTOMATIC_DISCOVERY_RANGE=LOCALHOST FASTRTPS_DEFAULT_PROFILES_FILE="$_root/config/fastdds.xml"
unset _root _prefix _dir
unset -f _prepend _append
