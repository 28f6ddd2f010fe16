#!/usr/bin/env bash
# Builds, tests and runs KernelContrast. './build.sh help' lists what it does.
set -euo pipefail
caller=$PWD
cd "$(dirname "${BASH_SOURCE[0]}")"

export DOTNET_NOLOGO=1 DOTNET_CLI_TELEMETRY_OPTOUT=1
LOGS=artifacts/logs
NATIVE=build/emulator
TOOL=src/KernelContrast.Cli/bin/Release/net10.0/kernelcontrast

usage() {
  cat <<'END'
./build.sh VERB

  demo [--quick]         train an encoder without labels on moved digits, measure it, draw it (artifacts/demo/)
  test [--full] [ARGS]   build and run every test; --full adds every op case in every order of threads and in checked
                         mode, programs published from the packages, the GPU bundle's own check, and the comparison with live libtorch (downloads 475 MB);
                         ARGS go to each test project, e.g. --filter "Name~relu"
  check                  formatting, build with warnings as errors, all tests
  run ARGS               build the tool and run it: ./build.sh run gradcheck --op relu
  tool                   build the tool with all it needs; its path is the last line
  bench [ARGS]           build and run the benchmarks (downloads libtorch, 475 MB); --help says which there are
  bundle                 all that a GPU host without SDK and internet needs: artifacts/kernelcontrast-gpu-bundle.tar.gz
  kernels                compile the kernels ahead with nvcc, for every architecture it knows, into build/kernels/
  nvrtc [--table]        fetch NVRTC 12.4 (18 MB) for the tests that compile kernels; --table writes
                         docs/kernel-resources.md anew
  pack                   NuGet packages into artifacts/packages/
  help                   this text

Needs the .NET SDK 10, cmake and g++; on Debian and Ubuntu what is missing is installed when that is allowed.
END
}

say() { printf '\n== %s\n' "$*" >&2; }
fail() { printf '%s\n' "$*" >&2; exit 1; }

# --- what is needed ------------------------------------------------------------------------------------------------

as_root=""
may_install() {
  command -v apt-get >/dev/null || return 1
  if [ "$(id -u)" = 0 ]; then return 0; fi
  command -v sudo >/dev/null && sudo -n true 2>/dev/null && as_root="sudo -n"
}

# install WHAT PACKAGE…: through apt when that is allowed, else says how.
install() {
  local what=$1; shift
  if may_install; then
    say "Installing $what: apt-get install $*"
    if ! $as_root apt-get install -y -q "$@" >"$LOGS/install.log" 2>&1; then
      $as_root apt-get update -q >>"$LOGS/install.log" 2>&1 || true
      $as_root apt-get install -y -q "$@" >>"$LOGS/install.log" 2>&1 || return 1
    fi
    return 0
  fi
  return 1
}

need_dotnet() {
  mkdir -p "$LOGS"
  has_sdk && return 0
  if command -v apt-get >/dev/null && apt-cache show dotnet-sdk-10.0 >/dev/null 2>&1; then
    install "the .NET SDK 10" dotnet-sdk-10.0 && has_sdk && return 0
    fail "Missing: the .NET SDK 10. Install it with: sudo apt-get install dotnet-sdk-10.0"
  fi
  fail "Missing: the .NET SDK 10. Install it from https://dotnet.microsoft.com/download/dotnet/10.0, or with:
  curl -fsSL https://dot.net/v1/dotnet-install.sh | bash -s -- --channel 10.0 && export PATH=\"\$HOME/.dotnet:\$PATH\""
}

has_sdk() { command -v dotnet >/dev/null && dotnet --list-sdks 2>/dev/null | grep -q '^10\.'; }

need_native() {
  local missing=()
  command -v cmake >/dev/null || missing+=(cmake)
  command -v g++ >/dev/null || missing+=(g++)
  command -v ninja >/dev/null || command -v make >/dev/null || missing+=(make)
  [ ${#missing[@]} = 0 ] && return 0
  install "${missing[*]}" "${missing[@]}" && return 0
  fail "Missing: ${missing[*]}. Install with: sudo apt-get install ${missing[*]} (or your system's package manager)."
}

# --- building ------------------------------------------------------------------------------------------------------

# quietly NAME COMMAND…: the output goes to a log, and to the screen only when the command fails.
quietly() {
  local log=$LOGS/$1.log; shift
  if "$@" >"$log" 2>&1; then return 0; fi
  grep -E '(error|warning)[ :]' "$log" | sort -u | head -40 >&2 || true
  tail -15 "$log" >&2
  fail "That failed; the whole output is in $log."
}

# The emulated driver and the kernels built for it: x86-64 Linux only; elsewhere the CPU device does without.
has_native() { [ -f CMakeLists.txt ] && [ "$(uname -s)-$(uname -m)" = Linux-x86_64 ]; }

build_native() {
  has_native || return 0
  need_native
  say "Building the emulated driver and its kernels"
  local generator=()
  command -v ninja >/dev/null && [ ! -f $NATIVE/CMakeCache.txt ] && generator=(-G Ninja)
  quietly cmake-configure cmake -S . -B $NATIVE "${generator[@]}" -DCMAKE_BUILD_TYPE=Release
  quietly cmake-build cmake --build $NATIVE --parallel
}

# build WHAT PROJECT: with warnings as errors, as every project says.
build() {
  say "Building $1"
  quietly "build-$(basename "$2")" dotnet build "$2" -c Release -v q -nologo
}

build_tool() {
  need_dotnet
  build_native
  build "the tool" src/KernelContrast.Cli/KernelContrast.Cli.csproj
}

# --- testing -------------------------------------------------------------------------------------------------------

passed=0 failed=0 skipped=0 broken=()

# run_project FOLDER ARGS…
run_project() {
  local folder=$1 name log code=0 p f s; shift
  name=$(basename "$folder"); log=$LOGS/test-$name.log
  "$folder/bin/Release/net10.0/$name" --output Detailed --no-ansi --progress off "$@" >"$log" 2>&1 || code=$?
  p=$(count succeeded "$log"); f=$(count failed "$log"); s=$(count skipped "$log")
  passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
  printf '%-32s %5d passed, %d failed, %d skipped\n' "$name" "$p" "$f" "$s"
  if [ "$f" -gt 0 ]; then grep -A 12 -E '^failed ' "$log" | head -120; fi
  # With a filter (8: no test ran) a project may have nothing to do; without one it has lost its tests.
  if [ "$code" = 8 ] && [ $# -gt 0 ]; then return 0; fi
  if [ "$code" != 0 ] && [ "$f" = 0 ]; then tail -20 "$log"; fi
  if [ "$code" != 0 ] || [ $((p + f)) = 0 ]; then broken+=("$name"); fi
  # A project that crashed, or ran nothing, counts as a failure of its own.
  if [ "$f" = 0 ] && { [ "$code" != 0 ] || [ "$p" = 0 ]; }; then failed=$((failed + 1)); fi
}

# The number after "  succeeded:" and so on in a test project's last lines; 0 when it did not get there.
count() { local n; n=$(grep -E "^ +$1: [0-9]+$" "$2" | tail -1 | tr -dc '0-9') || true; echo "${n:-0}"; }

run_native_tests() {
  has_native || return 0
  local log=$LOGS/test-native.log code=0 p f
  ctest --test-dir $NATIVE --output-on-failure >"$log" 2>&1 || code=$?
  p=$(grep -cE '^ *[0-9]+/[0-9]+ Test .* Passed ' "$log" || true)
  f=$(grep -cE '^ *[0-9]+/[0-9]+ Test .*\*\*\*' "$log" || true)
  passed=$((passed + p)) failed=$((failed + f))
  printf '%-32s %5d passed, %d failed, 0 skipped\n' "emulated driver (ctest)" "$p" "$f"
  if [ "$code" != 0 ]; then tail -60 "$log"; fi
  if [ "$code" != 0 ] || [ "$p" = 0 ]; then broken+=("ctest"); fi
  if [ "$f" = 0 ] && { [ "$code" != 0 ] || [ "$p" = 0 ]; }; then failed=$((failed + 1)); fi
}

# Op cases and device tests carry their device's name: "(forward,relu: one element,cpu-512)".
on_device() { cat $LOGS/test-KernelContrast*.log 2>/dev/null | grep -cE "^passed .*[ ,(\"]$1" || true; }

run_tests() {
  local full=no
  if [ "${1:-}" = --full ]; then full=yes; shift; export KERNELCONTRAST_TEST_THOROUGH=1; fi
  need_dotnet
  build_native
  build "everything" KernelContrast.sln
  # Outside the solution: it fetches libtorch.
  [ $full = no ] || build "the comparison with libtorch" tests/KernelContrast.Oracle/KernelContrast.Oracle.csproj
  say "Testing"
  rm -f $LOGS/test-*.log
  for project in tests/*/*.csproj; do
    grep -q EnableNUnitRunner "$project" || continue
    case $project in *Oracle*) [ $full = yes ] || continue ;; esac
    run_project "$(dirname "$project")" "$@"
  done
  # Arguments are the test projects': with a filter, only they are wanted.
  if [ $# = 0 ]; then run_native_tests; fi
  if [ $full = yes ] && [ $# = 0 ]; then run_published_check; run_bundle_check; fi
  echo "tests by device: $(on_device 'cpu-[0-9]+') on cpu by vector width, $(on_device cuda-emulated) on cuda-emulated"
  if [ ${#broken[@]} -gt 0 ]; then echo "Not right: ${broken[*]} (output in $LOGS/)"; fi
  if [ $((passed + failed)) = 0 ]; then echo "No test ran."; fi
  echo "$passed passed, $failed failed, $skipped skipped"
  [ ${#broken[@]} = 0 ] && [ "$failed" = 0 ] && [ "$passed" -gt 0 ]
}

# --- published programs --------------------------------------------------------------------------------------------

# A program of the packages, compiled natively and as a trimmed single file, away from the checkout: it must still find kernel
# sources, an image built ahead that the package carries, NVRTC and the emulated driver.
run_published_check() {
  local log=$PWD/$LOGS/test-published.log folder p=0 f=0 hash kind nvrtc=() version
  version=0.1.0-check.$(date +%s)
  folder=$(mktemp -d)
  mkdir "$folder/images"
  hash=$(LC_ALL=C; sha256sum kernels/nn/relu.cu kernels/common/*.cuh | cut -d' ' -f1 | tr -d '\n' | sha256sum | cut -d' ' -f1)
  printf 'built ahead\n// sources-sha256:%s\n' "$hash" >"$folder/images/nn.relu.sm_80.cubin"
  if [ -d build/nvrtc ]; then nvrtc=(KERNELCONTRAST_NVRTC="$PWD/build/nvrtc"); fi
  {
    for project in bindings/KernelContrast.Interop src/KernelContrast; do
      dotnet pack $project -c Release -v q -nologo -p:Version="$version" -p:KernelImages="$folder/images" -o "$folder/packages" || true
    done
    for kind in "-p:PublishAot=true" "-p:PublishTrimmed=true -p:PublishSingleFile=true --self-contained"; do
      # shellcheck disable=SC2086
      if dotnet publish tests/KernelContrast.Published -c Release -r linux-x64 $kind -p:FromPackages="$version" \
          -p:RestoreAdditionalProjectSources="$folder/packages" -v q -nologo -o "$folder/out" &&
        env -i PATH=/usr/bin:/bin "${nvrtc[@]}" KERNELCONTRAST_EMULATOR="$PWD/$NATIVE/libkernelcontrast_emulator.so" \
          "$folder/out/KernelContrast.Published" nn/relu; then p=$((p + 1)); else f=$((f + 1)); fi
      rm -rf "$folder/out"
    done
  } >"$log" 2>&1
  rm -rf "$folder" "${NUGET_PACKAGES:-$HOME/.nuget/packages}"/kernelcontrast{,.interop}/"$version" tests/KernelContrast.Published/{bin,obj}
  passed=$((passed + p)) failed=$((failed + f))
  printf '%-32s %5d passed, %d failed, 0 skipped\n' "published programs" "$p" "$f"
  if [ "$f" -gt 0 ]; then broken+=("published"); tail -40 "$log"; fi
}

# --- the GPU bundle ------------------------------------------------------------------------------------------------

BUNDLE=kernelcontrast-gpu-bundle

# A small checkout with programs in place of their sources: they find data, kernels and emulator as they do here.
make_bundle() {
  need_dotnet
  has_native || fail "The bundle is for x86-64 Linux and is built there."
  build_native
  local root=$PWD/artifacts/$BUNDLE archive=artifacts/$BUNDLE.tar.gz size
  say "Publishing the tool and the tests with their runtime"
  rm -rf "$root" "$archive"
  mkdir -p "$root/build/emulator" "$root/bench" "$root/data"
  for project in tests/KernelContrast.Tests tests/KernelContrast.Cli.Tests src/KernelContrast.Cli; do
    quietly "publish-$(basename $project)" dotnet publish $project -c Release -r linux-x64 --self-contained -v q -nologo -o "$root/bin"
  done
  rm -rf "$root/bin/emulator" "$root"/bin/*.pdb "$root"/bin/*.xml "$root"/bin/libmscordbi.so "$root"/bin/libmscordaccore.so "$root"/bin/createdump
  cp -r kernels README.md LICENSE KernelContrast.sln docs "$root"
  cp -r data/mnist "$root/data"
  cp -r $NATIVE/libkernelcontrast_*.so $NATIVE/kernels "$root/build/emulator"
  if [ -d build/kernels ]; then cp -r build/kernels "$root/build"; fi
  mkdir "$root/bench/peers" && cp bench/peers/*.py bench/peers/README.md "$root/bench/peers"
  cp bench/gpu-bundle/gpu-check.sh "$root"
  cp bench/gpu-bundle/README.md "$root/GPU.md"
  { git rev-parse --short HEAD 2>/dev/null || echo unknown; } >"$root/COMMIT"
  tar -C artifacts -czf $archive $BUNDLE
  size=$(stat -c %s $archive)
  [ "$size" -le 60000000 ] || fail "$archive has $size bytes, more than 60 MB."
  echo "$archive ($((size / 1000000)) MB): unpack it on the GPU host and run ./gpu-check.sh; GPU.md says more."
}

# The bundle as a GPU host gets it: unpacked elsewhere, no dotnet, an empty environment.
run_bundle_check() {
  local log=$PWD/$LOGS/test-bundle.log folder p=0 f=0
  make_bundle >"$log" 2>&1 || true
  folder=$(mktemp -d)
  tar -C "$folder" -xzf artifacts/$BUNDLE.tar.gz >>"$log" 2>&1 || true
  check_bundle "the stages run on the emulated driver" 0 "$folder" --emulated --out "$folder/report"
  if ! "$TOOL" devices --json 2>/dev/null | grep -q '"device":"cuda","usable":true'; then
    check_bundle "no GPU is said plainly" 3 "$folder"
  fi
  rm -rf "$folder"
  passed=$((passed + p)) failed=$((failed + f))
  printf '%-32s %5d passed, %d failed, 0 skipped\n' "GPU bundle" "$p" "$f"
  if [ "$f" -gt 0 ]; then broken+=("bundle"); tail -40 "$log"; fi
}

# check_bundle WHAT EXIT_CODE FOLDER ARGS…
check_bundle() {
  local what=$1 expected=$2 folder=$3 code=0; shift 3
  env -i PATH=/usr/bin:/bin "$folder/$BUNDLE/gpu-check.sh" "$@" >>"$log" 2>&1 || code=$?
  if [ $code = "$expected" ]; then p=$((p + 1)); else f=$((f + 1)); echo "failed: $what (exit code $code, expected $expected)" >>"$log"; fi
}

check_formatting() {
  say "Formatting"
  local wrong
  wrong=$(grep -rlIE '[[:blank:]]+$' . --include='*.'{cs,cu,cuh,cpp,h,sh,ps1,csproj,props,txt,cmake} --exclude-dir={.git,bin,obj,build,artifacts} || true)
  [ -z "$wrong" ] || fail "Blanks at the end of lines in: $wrong"
  quietly format dotnet format whitespace KernelContrast.sln --verify-no-changes
}

# --- verbs ---------------------------------------------------------------------------------------------------------

verb=${1:-help}
[ $# = 0 ] || shift
case $verb in
  demo) build_tool; exec "$TOOL" demo "$@" ;;
  # Paths among the arguments are the caller's.
  run) build_tool; tool=$PWD/$TOOL; cd "$caller"; exec "$tool" "$@" ;;
  tool) build_tool; echo "$PWD/$TOOL" ;;
  test) run_tests "$@" ;;
  check) need_dotnet; check_formatting; run_tests "$@" ;;
  bench)
    need_dotnet; build_native
    build "the benchmarks" bench/KernelContrast.Bench/KernelContrast.Bench.csproj
    exec bench/KernelContrast.Bench/bin/Release/net10.0/KernelContrast.Bench "$@" ;;
  bundle) make_bundle ;;
  kernels)
    mkdir -p "$LOGS"
    [ -n "${NVCC:-}" ] || command -v nvcc >/dev/null || [ -x "${CUDA_PATH:-${CUDA_HOME:-/usr/local/cuda}}/bin/nvcc" ] || fail \
      "Missing: nvcc. Install the CUDA toolkit (11.8 or newer), or give its path in NVCC. Without it, NVRTC compiles the kernels where they first run."
    command -v cmake >/dev/null || install cmake cmake || fail "Missing: cmake."
    say "Compiling the kernels with nvcc"
    quietly kernels-configure cmake -S bindings/toolkit -B build/kernels ${NVCC:+-DNVCC="$NVCC"} "$@"
    quietly kernels-build cmake --build build/kernels --parallel
    grep -E 'does not know|Compiling for' "$LOGS/kernels-configure.log"
    echo "$(find build/kernels -name '*.cubin' | wc -l) cubins and $(find build/kernels -name '*.ptx' | wc -l) PTX files in $PWD/build/kernels" ;;
  nvrtc)
    bindings/toolkit/fetch-nvrtc.sh build/nvrtc
    if [ "${1:-}" = --table ]; then
      need_dotnet
      build "the tests" tests/KernelContrast.Tests/KernelContrast.Tests.csproj
      KERNELCONTRAST_WRITE_KERNEL_RESOURCES=1 quietly kernel-resources tests/KernelContrast.Tests/bin/Release/net10.0/KernelContrast.Tests \
        --filter Name=The_table_of_resources_is_up_to_date
      echo "$PWD/docs/kernel-resources.md"
    else
      echo "$PWD/build/nvrtc"
    fi ;;
  pack)
    need_dotnet
    say "Packing"
    for project in bindings/KernelContrast.Interop src/KernelContrast src/KernelContrast.Datasets; do
      quietly "pack-$(basename $project)" dotnet pack $project -c Release -v q -nologo -o artifacts/packages
    done
    ls artifacts/packages/*.nupkg ;;
  help | -h | --help) usage ;;
  *) usage >&2; printf '\nThere is no verb "%s".\n' "$verb" >&2; exit 2 ;;
esac
