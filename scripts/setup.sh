#!/usr/bin/env bash
# Installs everything that `make demo` and `make test` need and that is not there yet, without root, into
# ${ONEBIT_CACHE:-~/.cache/onebit_detector}: ROS 2 from wheels unless one is sourced, vision_msgs where it is missing,
# libclang, ONNX Runtime, colcon. The second run finds it all and is quick.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${ONEBIT_CACHE:-$HOME/.cache/onebit_detector}
python=${PYTHON:-python3}
say() { echo "setup: $*"; }
die() { echo "setup: $*" >&2; exit 1; }

need() { # need COMMAND PACKAGE
  command -v "$1" > /dev/null || die "$1 is missing: install the system package $2 (Debian, Ubuntu: sudo apt install $2)"
}
need "$python" python3; need gcc gcc; need g++ g++; need make make; need cargo 'of Rust, https://rustup.rs'
"$python" -c 'import venv, ensurepip' 2> /dev/null || die "python's venv is missing: sudo apt install python3-venv"
header=$("$python" -c 'import sysconfig; print(sysconfig.get_paths()["include"])')/Python.h
[ -e "$header" ] || die "$header is missing: sudo apt install python3-dev"

mkdir -p "$cache"
exec 9> "$cache/setup.lock"; flock 9 # one at a time

# stamped NAME FILES...: true if what NAME stands for was made from these very files.
stamped() { local name=$1; shift; [ "$(cat "$cache/$name.stamp" 2> /dev/null)" = "$(cat "$@" | sha256sum)" ]; }
stamp() { local name=$1; shift; cat "$@" | sha256sum > "$cache/$name.stamp"; }

if [ -n "${ROS_DISTRO:-}" ] && [ -z "${ONEBIT_ROS_WHEELS:-}" ]; then
  say "ROS 2 $ROS_DISTRO is sourced: using it"
else
  if ! stamped ros "$here/ros_wheels.sh"; then
    say "no ROS 2 is sourced: installing ROS 2 Jazzy from wheels into $cache/ros (about a minute)"
    "$here/ros_wheels.sh" "$cache/ros"
    stamp ros "$here/ros_wheels.sh"
  fi
fi

if ! stamped python "$here/requirements.txt"; then
  say "installing ONNX Runtime, colcon and libclang into $cache/python (about a minute)"
  [ -x "$cache/python/bin/python" ] || "$python" -m venv "$cache/python"
  "$cache/python/bin/pip" install -q --disable-pip-version-check -r "$here/requirements.txt"
  stamp python "$here/requirements.txt"
fi

set +u; . "$here/env.sh"; set -u
if [ -z "$(onebit_find_ros_package vision_msgs)" ]; then
  say "vision_msgs is missing: building it into $cache/vision_msgs"
  build=$(mktemp -d); trap 'rm -rf "$build"' EXIT
  messages=$(cd "$here/../tests/ros/vision_msgs" && pwd)
  { cmake -S "$messages" -B "$build" -DCMAKE_INSTALL_PREFIX="$cache/vision_msgs" -DBUILD_TESTING=OFF \
      -DPython3_EXECUTABLE="$ONEBIT_ROS_PYTHON" && cmake --build "$build" --target install -j2; } > "$cache/vision_msgs.log" 2>&1 ||
    { tail -30 "$cache/vision_msgs.log" >&2; die "vision_msgs did not build, see $cache/vision_msgs.log"; }
fi

if ! [ -x "$cache/tools/bin/cargo-ament-build" ]; then
  say "installing cargo-ament-build into $cache/tools (up to three minutes)"
  cargo install -q --locked --root "$cache/tools" cargo-ament-build@0.1.11
fi
say "everything is there"
