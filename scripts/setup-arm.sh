#!/usr/bin/env bash
# Makes what `make test-arm` needs beside Rust, in ONEBIT_CACHE/arm: a compiler for 64-bit ARM, a linker, an emulator.
# The compiler's target is rustup's where it can be had; else Debian's rustc-web with the arm64 standard library that fits
# it, unpacked, not installed. Only the linker and the emulator are installed: by apt, as root, unless they are there.
# Then: . ONEBIT_CACHE/arm/env.sh; cargo test --lib --target aarch64-unknown-linux-gnu. ARM_CPU=... picks the core.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
target=aarch64-unknown-linux-gnu
arm="${ONEBIT_CACHE:-$HOME/.cache/onebit_detector}/arm"

say() { echo "setup-arm: $*"; }
fail() { echo "setup-arm: $*" >&2; exit 1; }

linker_and_emulator() {
  command -v aarch64-linux-gnu-gcc > /dev/null && command -v qemu-aarch64 > /dev/null && return
  local install='apt-get install -y gcc-aarch64-linux-gnu qemu-user'
  [ "$(id -u)" = 0 ] || fail "a linker and an emulator are missing. Debian, Ubuntu, as root: $install"
  say "$install"
  { apt-get update && $install; } > "$arm/apt.log" 2>&1 || { tail "$arm/apt.log" >&2; fail "apt-get failed"; }
}

# The name that the dependencies of package $1 give to what matches $2.
dependency() { apt-cache depends "$1" | awk -v name="$2" '$1 == "Depends:" && $2 ~ name { print $2; exit }'; }

rustc_from_debian() {
  command -v dpkg-deb > /dev/null || fail "rustup has no target $target here, and this is not Debian or Ubuntu"
  [ ! -x "$arm/rustc" ] || return 0
  say "rustup has no target $target here: taking Debian's rustc-web"
  local std runtime llvm lists="$arm/lists" packages="$arm/packages"
  std=$(dependency rustc-web '^libstd-rust-web-dev')
  [ -n "$std" ] || fail "apt knows no package rustc-web; perhaps, as root: apt-get update"
  runtime=$(dependency "$std" '^libstd-rust-web-[0-9]')
  llvm=$(dependency "$runtime" '^libllvm')
  rm -rf "$packages" "$arm/root"
  mkdir -p "$lists/partial" "$packages"
  local arm64=(-o APT::Architecture=arm64 -o APT::Architectures=arm64 -o "Dir::State::Lists=$lists")
  (
    cd "$packages"
    apt-get "${arm64[@]}" update
    apt-get "${arm64[@]}" download libstd-rust-web-dev
    apt-get download rustc-web "$std" "$runtime" "$llvm"
    for package in *.deb; do dpkg-deb -x "$package" "$arm/root"; done
  ) > "$arm/debian.log" 2>&1 || { tail "$arm/debian.log" >&2; fail "Debian's packages could not be had"; }
  rm -rf "$packages"
  local libraries
  libraries=$(printf '%s:' "$arm"/root/usr/lib/*-linux-gnu "$arm"/root/usr/lib/llvm-*/lib)
  cat > "$arm/rustc" << SCRIPT
#!/bin/sh
LD_LIBRARY_PATH="$libraries\$LD_LIBRARY_PATH" exec "$arm/root/usr/bin/rustc" --sysroot "$arm/root/usr" "\$@"
SCRIPT
  chmod +x "$arm/rustc"
}

cd "$root"
mkdir -p "$arm"
linker_and_emulator
cat > "$arm/emulate" << 'SCRIPT'
#!/bin/sh
exec qemu-aarch64 -cpu "${ARM_CPU:-max}" -L /usr/aarch64-linux-gnu "$@"
SCRIPT
chmod +x "$arm/emulate"
cat > "$arm/env.sh" << SCRIPT
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER="$arm/emulate"
SCRIPT
if command -v rustup > /dev/null && rustup target add "$target" > "$arm/rustup.log" 2>&1; then
  say "rustup's target $target"
else
  rustc_from_debian
  echo "export RUSTC=\"$arm/rustc\"" >> "$arm/env.sh"
  say "$("$arm/rustc" --version)"
fi
