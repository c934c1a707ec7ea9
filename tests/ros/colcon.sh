#!/usr/bin/env bash
# Builds and tests the package with colcon in a workspace, and checks what was installed and that it starts.
# Needs the environment of scripts/env.sh.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
workspace=${ONEBIT_COLCON:?source scripts/env.sh first}
colcon=$(dirname "$ONEBIT_PYTHON")/colcon
install=$workspace/install/onebit_detector

rm -rf "$workspace/install" "$workspace/build" "$workspace/log"
mkdir -p "$workspace/src" "$workspace/build"
ln -sfn "$root" "$workspace/src/onebit_detector"
# colcon gives each package a target folder of its own; here it is the one that has r2r already.
ln -sfn "${CARGO_TARGET_DIR:-$root/target}" "$workspace/build/onebit_detector"

cd "$workspace"
"$colcon" build --event-handlers console_direct+
"$colcon" test --event-handlers console_direct+
"$colcon" test-result --all

for file in lib/onebit_detector/{detector_node,onebit} share/onebit_detector/package.xml \
  share/onebit_detector/launch/detector.launch.xml share/onebit_detector/config/detector.yaml \
  share/onebit_detector/models/demo.safetensors share/ament_index/resource_index/packages/onebit_detector; do
  [ -e "$install/$file" ] || { echo "colcon did not install $file" >&2; exit 1; }
done
"$install/lib/onebit_detector/onebit" inspect "$install/share/onebit_detector/models/demo.safetensors" > /dev/null
echo "colcon: built, tested, installed"
