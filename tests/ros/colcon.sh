#!/usr/bin/env bash
# Builds and tests the package with colcon in a workspace, and checks what was installed and that it starts.
# Needs the environment of scripts/env.sh.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
workspace=${ONEBIT_COLCON:?source scripts/env.sh first}
colcon=$(dirname "$ONEBIT_PYTHON")/colcon
install=$workspace/install/onebit_detector
build=$workspace/build/onebit_detector

mkdir -p "$workspace"
exec 9> "$workspace/lock"; flock 9 # another checkout may use the same workspace
rm -rf "$workspace"/{install,build,log,src}
mkdir -p "$workspace"/{src,build}
ln -s "$root" "$workspace/src/onebit_detector"
# colcon gives each package a target folder of its own; here it is the one that has r2r already.
ln -s "$CARGO_TARGET_DIR" "$build"
rm -f "$build"/cargo_test.xml

cd "$workspace"
"$colcon" build
"$colcon" test --event-handlers console_direct+
"$colcon" test-result --all --test-result-base "$build" | tee "$workspace/test-result"
grep -q '2 tests, 0 errors, 0 failures, 0 skipped' "$workspace/test-result" # cargo test and cargo fmt

for file in lib/onebit_detector/{detector_node,onebit} share/onebit_detector/package.xml \
  share/onebit_detector/launch/detector.launch.xml share/onebit_detector/config/{detector.yaml,fastdds.xml} \
  share/onebit_detector/models/demo.safetensors share/ament_index/resource_index/packages/onebit_detector; do
  [ -e "$install/$file" ] || { echo "colcon did not install $file" >&2; exit 1; }
done
"$install/lib/onebit_detector/onebit" inspect "$install/share/onebit_detector/models/demo.safetensors" > /dev/null
# The node as `ros2 run` starts it finds the installed model, and ends well.
timeout --preserve-status -s INT 3 "$install/lib/onebit_detector/detector_node" \
  --ros-args --params-file "$install/share/onebit_detector/config/detector.yaml"
echo "colcon: built, tested, installed, started"
