#!/usr/bin/env bash
# Checks and times KernelContrast's CUDA side on this machine's GPU; GPU.md says what the stages do.
set -uo pipefail
caller=$PWD
cd "$(dirname "${BASH_SOURCE[0]}")" || exit 2

NO_GPU=3
device=cuda emulated=no only="" out=""

usage() {
  cat <<'END'
./gpu-check.sh [--device cuda|cuda:N] [--emulated] [--only STAGE] [--out FOLDER]

  --device NAME   the GPU to use; cuda, the first one, when not given
  --emulated      run the stages in small on the emulated driver: no GPU needed, nothing is measured
  --only STAGE    wrappers, suite, memcheck, racecheck, bench or peers
  --out FOLDER    for the report and the logs; gpu-check-DATE when not given

Exit code: 0 all well, 1 a stage failed, 2 wrong arguments, 3 no GPU.
END
}

refuse() { echo "gpu-check.sh: $*" >&2; exit 2; }

while [ $# -gt 0 ]; do
  case $1 in
    --device | --only | --out)
      [ $# -gt 1 ] && [ -n "$2" ] || refuse "$1 needs a value."
      declare "${1#--}=$2"
      shift ;;
    --emulated) emulated=yes device=cuda-emulated ;;
    -h | --help) usage; exit 0 ;;
    *) usage >&2; refuse "there is no option '$1'." ;;
  esac
  shift
done
case $only in "" | wrappers | suite | memcheck | racecheck | bench | peers) ;; *) refuse "there is no stage '$only'." ;; esac
[ "$device" != cuda-emulated ] || emulated=yes
[[ $device =~ ^cuda(:[0-9]+|-emulated)?$ ]] || refuse "--device $device: expected cuda or cuda:N."
case $out in "" | /*) ;; *) out=$caller/$out ;; esac

tool=bin/kernelcontrast
# A HOME that cannot be written would stop .NET from extracting and caching.
[ -n "${HOME:-}" ] || export HOME=${TMPDIR:-/tmp}
export KERNELCONTRAST_TEST_DEVICE=$device DOTNET_CLI_TELEMETRY_OPTOUT=1
unset DOTNET_ROOT

# --- is there a GPU? -------------------------------------------------------------------------------------------------

devices=$("$tool" devices --json 2>&1) || { echo "gpu-check.sh: $tool does not start: $devices" >&2; exit 1; }
found=$(grep -F "\"device\":\"$device\"" <<<"$devices" || true)
if ! grep -q '"usable":true' <<<"$found"; then
  problem=$(sed -n 's/.*"problem":"\([^"]*\)".*/\1/p' <<<"$found")
  cat >&2 <<END
No GPU: the device $device cannot be used on this machine, so nothing was checked and nothing measured.
${problem:-This machine has fewer GPUs than that; bin/kernelcontrast devices lists them.}
What to do: run this on a machine with an NVIDIA GPU of compute capability 8.0 or later and its driver (nvidia-smi must
list the GPU; in a container, start it with its GPUs). To see that the bundle itself works: ./gpu-check.sh --emulated
END
  exit $NO_GPU
fi

# --- stages ----------------------------------------------------------------------------------------------------------

started=$(date -u +%Y-%m-%dT%H:%M:%SZ)
out=${out:-gpu-check-$(date -u +%Y%m%d-%H%M%S)}
mkdir -p "$out" || exit 2
commit=$(cat COMMIT 2>/dev/null || echo unknown)
gpu="" driver=""
if [ $emulated = no ] && command -v nvidia-smi >/dev/null; then
  index=${device#cuda}; index=${index#:}
  row=$(nvidia-smi --query-gpu=name,driver_version --format=csv,noheader -i "${index:-0}" 2>/dev/null | head -1)
  gpu=${row%,*} driver=${row##*, }
fi
names=() results=() seconds=() notes=()

# stage NAME COMMAND…: runs a command into NAME.log. What it prints last becomes the note of the report.
stage() {
  local name=$1 from=$SECONDS code=0 note; shift
  [ -z "$only" ] || [ "$only" = "$name" ] || return 0
  printf '%-10s ' "$name"
  "$@" >"$out/$name.log" 2>&1 || code=$?
  note=$(counts "$out/$name.log")
  [ -n "$note" ] || note=$(grep -v '^[[:space:]]*$' "$out/$name.log" | tail -1 | cut -c1-200)
  if [ $code = 0 ]; then record "$name" passed $((SECONDS - from)) "$note"; else record "$name" failed $((SECONDS - from)) "exit code $code: $note"; fi
}

skip() { [ -n "$only" ] && [ "$only" != "$1" ] || { printf '%-10s ' "$1"; record "$1" skipped 0 "$2"; }; }

record() {
  names+=("$1") results+=("$2") seconds+=("$3") notes+=("$4")
  printf '%-8s %5d s  %s\n' "$2" "$3" "$4"
}

# "N passed, N failed, N skipped" of the test programs in a log; nothing when there are none.
counts() {
  awk '/^ +succeeded: [0-9]+$/ { p += $2; any = 1 } /^ +failed: [0-9]+$/ { f += $2 } /^ +skipped: [0-9]+$/ { s += $2 }
       END { if (any) printf "%d passed, %d failed, %d skipped", p, f, s }' "$1"
}

tests() { "bin/$1" --output Detailed --no-ansi --progress off "${@:2}"; }

suite() {
  local code=0
  if [ $emulated = yes ]; then
    tests KernelContrast.Tests --filter "Name~relu|Name~softmax|FullyQualifiedName~CudaDeviceTests" || code=1
    tests KernelContrast.Cli.Tests --filter "FullyQualifiedName~DeviceTests" || code=1
  else
    tests KernelContrast.Tests || code=1
    tests KernelContrast.Cli.Tests || code=1
  fi
  return $code
}

find_sanitizer() {
  command -v compute-sanitizer && return 0
  local path
  for path in /usr/local/cuda*/bin/compute-sanitizer /opt/nvidia/*/compute-sanitizer; do [ -x "$path" ] && echo "$path" && return 0; done
  return 1
}

sanitize() {
  if [ $emulated = yes ]; then stage "$1" "$tool" gradcheck --op softmax --device $device; return; fi
  local sanitizer
  if ! sanitizer=$(find_sanitizer); then skip "$1" "compute-sanitizer is not installed"; return; fi
  stage "$1" "$sanitizer" --tool "$1" --error-exitcode 9 "$tool" gradcheck --device "$device"
}

bench() {
  local size=()
  [ $emulated = no ] || size=(--tiny)
  "$tool" bench kernels --device "$device" "${size[@]}" --json "$out/bench.json"
}

peers() {
  [ -f bench/peers/run.py ] || { skip peers "this bundle has no bench/peers/run.py"; return; }
  command -v python3 >/dev/null || { skip peers "there is no python3"; return; }
  if [ $emulated = yes ]; then stage peers python3 bench/peers/run.py --help; return; fi
  python3 -c 'import sys, torch; sys.exit(0 if torch.cuda.is_available() else 1)' 2>/dev/null ||
    { skip peers "python3 has no torch with CUDA"; return; }
  stage peers python3 bench/peers/run.py --tool "$tool" --device "$device" --out "$out/peers.json"
}

echo "KernelContrast, commit $commit, on $device${gpu:+ ($gpu, driver $driver)}. Logs and report: $out/"
[ $emulated = no ] || echo "On the emulated driver: what follows tells whether the stages work, and measures nothing."
stage wrappers tests KernelContrast.Tests --filter "TestCategory=PtxWrappers"
stage suite suite
sanitize memcheck
sanitize racecheck
stage bench bench
peers

# --- report ----------------------------------------------------------------------------------------------------------

# A string of JSON.
quoted() { printf '"%s"' "$(printf '%s' "$1" | tr -d '\000-\010\013-\037' | tr '\t\n' '  ' | sed 's/\\/\\\\/g; s/"/\\"/g')"; }

# What the bench found out about the device is the better description: it asked the driver itself.
description=$(sed -n 's/^ *"description": *"\(.*\)",\{0,1\}$/\1/p' "$out/bench.json" 2>/dev/null | head -1)
cuda=$(sed -n 's/.*driver for CUDA \([0-9.]*\).*/\1/p' <<<"$description")
{
  printf '{\n  "device": %s,\n  "gpu": %s,\n  "driver": %s,\n  "cuda": %s,\n  "date": %s,\n  "commit": %s,\n  "measured": %s,\n  "stages": [' \
    "$(quoted "$device")" "$(quoted "${description:-$gpu}")" "$(quoted "$driver")" "$(quoted "$cuda")" "$(quoted "$started")" \
    "$(quoted "$commit")" "$([ $emulated = yes ] && echo false || echo true)"
  for i in "${!names[@]}"; do
    [ "$i" = 0 ] || printf ','
    printf '\n    { "stage": %s, "result": %s, "seconds": %d, "note": %s }' \
      "$(quoted "${names[$i]}")" "$(quoted "${results[$i]}")" "${seconds[$i]}" "$(quoted "${notes[$i]}")"
  done
  printf '\n  ]'
  for part in bench peers; do [ -s "$out/$part.json" ] && { printf ',\n  "%s": ' $part; cat "$out/$part.json"; }; done
  printf '\n}\n'
} >"$out/report.json"
{
  echo "KernelContrast on ${description:-${gpu:-$device}}"
  echo "device $device; driver ${driver:-unknown}; CUDA ${cuda:-unknown}; $started; commit $commit"
  [ $emulated = no ] || echo "On the emulated driver: not a measurement."
  echo
  for i in "${!names[@]}"; do printf '%-10s %-8s %5d s  %s\n' "${names[$i]}" "${results[$i]}" "${seconds[$i]}" "${notes[$i]}"; done
  for part in bench peers; do [ -s "$out/$part.log" ] && { printf '\n== %s\n' $part; cat "$out/$part.log"; }; done
} >"$out/report.txt"

failed=0
for result in "${results[@]}"; do [ "$result" != failed ] || failed=1; done
echo "Report: $out/report.txt and $out/report.json"
exit $failed
