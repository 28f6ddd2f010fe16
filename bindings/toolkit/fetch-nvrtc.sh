#!/usr/bin/env bash
# Unpacks NVRTC 12.4, NVIDIA's compiler library, from Debian's packages into a folder, so that kernels can be compiled on
# a machine without a CUDA toolkit. Nothing is installed, and the machine's package sources stay as they are.
#   fetch-nvrtc.sh FOLDER
set -euo pipefail

VERSION=12.4.127~12.4.1-2
SUITE=trixie
PACKAGES=(libnvrtc12 libnvrtc-builtins12.4)

[ $# = 1 ] || { echo "usage: $0 FOLDER" >&2; exit 2; }
mkdir -p "$1"
folder=$(cd "$1" && pwd)
[ "$(cat "$folder/version" 2>/dev/null)" != "$VERSION" ] || exit 0

fail() { printf 'NVRTC %s: %s\nInstall CUDA 11.8 or newer, or give the path of its libnvrtc in KERNELCONTRAST_NVRTC.\n' "$VERSION" "$*" >&2; exit 1; }
[ "$(uname -s)-$(uname -m)" = Linux-x86_64 ] || fail "fetched on x86-64 Linux only."
command -v apt-get >/dev/null && command -v dpkg >/dev/null || fail "fetched by apt-get, which is not here."

# The machine's own Debian mirror, asked for another suite; known from its sources alone, though no list was fetched yet.
mirror=$(apt-get indextargets --no-release-info --format '$(CREATED_BY) $(REPO_URI)' | awk '$1 == "Packages" && $2 ~ /\/debian\/?$/ { print $2; exit }')
[ -n "$mirror" ] || fail "no Debian mirror among this machine's package sources."

state=$(mktemp -d)
trap 'rm -rf "$state"' EXIT
mkdir -p "$state"/{lists,cache/archives}/partial
touch "$state/status"
echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $SUITE non-free" >"$state/sources.list"
options=(-q -o Dir::State="$state" -o Dir::State::Lists="$state/lists" -o Dir::State::status="$state/status"
  -o Dir::Cache="$state/cache" -o Dir::Etc::SourceList="$state/sources.list" -o Dir::Etc::SourceParts=/dev/null
  -o APT::Sandbox::User=)
log=$state/log
apt-get "${options[@]}" update >"$log" 2>&1 || { cat "$log" >&2; fail "the package list of $SUITE cannot be read."; }
(cd "$state" && apt-get "${options[@]}" download "${PACKAGES[@]/%/=$VERSION}") >>"$log" 2>&1 ||
  { cat "$log" >&2; fail "the packages cannot be downloaded."; }
for package in "$state"/*.deb; do dpkg -x "$package" "$state/root"; done
cp -P "$state"/root/usr/lib/x86_64-linux-gnu/libnvrtc*.so* "$folder/"
cp "$state"/root/usr/share/doc/libnvrtc12/copyright "$folder/"
echo "$VERSION" >"$folder/version"
