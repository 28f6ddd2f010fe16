#!/usr/bin/env python3
"""The contrastive losses of kernelcontrast and of PyTorch, forward and backward, by turns. README.md says what the rows are."""
from __future__ import annotations

import argparse
import datetime
import json
import math
import os
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
KINDS, PRECISIONS = ("nt-xent", "info-nce", "clip"), ("f32", "tf32", "bf16")
PEERS = ("eager", "in place", "compile", "chunked", "streamed")
# Pairs of rows up to which float64 is affordable.
EXACT_PAIRS = {"cuda": 16384 ** 2, "cpu": 4096 ** 2}


def arguments():
    parser = argparse.ArgumentParser(prog="run.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
                                     epilog="example: python3 bench/peers/run.py --tool bin/kernelcontrast --out peers.json")
    parser.add_argument("--tool", required=True, metavar="PATH", help="the program kernelcontrast")
    parser.add_argument("--out", metavar="FILE", help="write the figures here as JSON")
    parser.add_argument("--plot", metavar="FILE.png", help="draw time and memory against N")
    parser.add_argument("--device", default="cuda", metavar="D", help="cuda, cuda:N or cpu (default: cuda)")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS), metavar="KIND", help=f"of {', '.join(KINDS)} (default: all)")
    parser.add_argument("--sizes", nargs="+", type=int, metavar="N", help="rows (default: 1024 4096 16384; cpu: 1024 4096)")
    parser.add_argument("--dims", nargs="+", type=int, metavar="D", help="columns, multiples of 16 (default: 128 768; cpu: 128)")
    parser.add_argument("--precisions", nargs="+", choices=PRECISIONS, metavar="P", help="of f32, tf32, bf16 (default: all; cpu: f32)")
    parser.add_argument("--temperatures", nargs="+", type=float, default=[0.1, 0.07], metavar="T",
                        help="the first for all rows, the others at the middle size and first dimension (default: 0.1 0.07)")
    parser.add_argument("--peers", nargs="+", choices=PEERS, default=list(PEERS), metavar="PEER", help=f"of {', '.join(PEERS)} (default: all)")
    parser.add_argument("--seconds", type=float, default=1, metavar="S", help="time spent on each row (default: 1)")
    parser.add_argument("--gemm", type=int, metavar="N", help="size of the matrix product that times are held against (default: 8192; cpu: 1024)")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
                        metavar="N", help="of both sides on the cpu (default: all)")
    options = parser.parse_args()
    cpu = options.device == "cpu"
    if not cpu and options.device != "cuda" and not (options.device.startswith("cuda:") and options.device[5:].isdigit()):
        parser.error(f"--device {options.device}: expected cuda, cuda:N or cpu")
    options.sizes = sorted(set(options.sizes or ([1024, 4096] if cpu else [1024, 4096, 16384])))
    options.dims = options.dims or ([128] if cpu else [128, 768])
    options.precisions = options.precisions or (["f32"] if cpu else list(PRECISIONS))
    if cpu and "tf32" in options.precisions:
        parser.error("--precisions tf32: there is no TF32 on the CPU")
    options.gemm = options.gemm or (1024 if cpu else 8192)
    if options.sizes[0] < 4 or any(n % 2 for n in options.sizes):
        parser.error("--sizes are even and 4 or more")
    if min(options.dims) < 16 or any(d % 16 for d in options.dims):
        parser.error("--dims are multiples of 16")
    if not (options.seconds > 0 and options.gemm > 0 and options.threads > 0 and min(options.temperatures) > 0):
        parser.error("--seconds, --gemm, --threads and --temperatures are above 0")
    return options


OPTIONS = arguments()  # before PyTorch is looked for: --help needs none

try:
    import torch
except ImportError:
    sys.exit("run.py: this python3 has no PyTorch. Install it (2.4 or later for a GPU), or start another python3.")
import losses  # noqa: E402
import measure  # noqa: E402


def problems(options):
    """(kind, rows, dim, temperature, precision) of every row, in the table's order."""
    for kind in options.kinds:
        for dim in options.dims:
            for precision in options.precisions:
                for rows in options.sizes:
                    yield kind, rows, dim, options.temperatures[0], precision
        for temperature in options.temperatures[1:]:
            for precision in options.precisions:
                yield kind, options.sizes[len(options.sizes) // 2], options.dims[0], temperature, precision


def ways(options, precision, clock):
    """(peer, its precision, how to make the function that computes a problem) of every peer at a precision of ours."""
    makers = {"eager": lambda problem: losses.user, "in place": lambda problem: losses.in_place, "compile": lambda problem: losses.compiled(),
              "chunked": lambda problem: losses.chunked, "streamed": lambda problem: fastest_streamed(problem, clock)}
    for peer in options.peers:
        yield peer, precision, makers[peer]
        # What it publishes computes in TF32, whatever its inputs: our bfloat16 is held against that too.
        if peer == "streamed" and precision == "bf16" and clock.cuda:
            yield peer, "tf32", makers[peer]


def fastest_streamed(problem, clock):
    if not clock.cuda:
        raise NotImplementedError("Triton needs a GPU")
    try:
        import streamed
    except ImportError:
        raise NotImplementedError("Triton is not installed") from None
    best, chosen, problem_of_last = math.inf, None, None
    for configuration in streamed.CONFIGURATIONS:
        try:
            streamed.streamed(problem, configuration)
            time = clock.milliseconds(lambda: streamed.streamed(problem, configuration), 3)
        except Exception as e:  # more shared memory or registers than this GPU has
            problem_of_last = e
            continue
        if time < best:
            best, chosen = time, configuration
    if chosen is None:
        raise RuntimeError(f"no configuration runs: {problem_of_last}")
    work = lambda p: streamed.streamed(p, chosen)  # noqa: E731
    work.note = "tile {0} x {0} x {1}, {2} warps, {3} stages".format(*chosen)
    return work


def error(gradients, exact):
    """The largest difference as a share of the root mean square, over all gradients."""
    squares = sum(float(e.square().sum()) for e in exact)
    rms = math.sqrt(squares / sum(e.numel() for e in exact))
    return max(float((g.double() - e).abs().max()) for g, e in zip(gradients, exact)) / rms


def number(value):
    """For JSON, which has no NaN."""
    return value if value is None or math.isfinite(value) else str(value)


def first_line(exception):
    return f"{type(exception).__name__}: {exception}".splitlines()[0][:160]


def set_precision(precision):
    torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"


def measure_problem(options, tool, clock, folder, spec):
    """The rows of one problem: ours against every peer."""
    kind, rows, dim, temperature, precision = spec
    exact_wanted = rows * rows <= EXACT_PAIRS[clock.device.type]
    request = dict(kind=kind, rows=rows, dim=dim, temperature=temperature, precision=precision)
    row = dict(kind=kind, rows=rows, dim=dim, temperature=temperature, precision=precision)
    file = os.path.join(folder, "problem.safetensors")
    try:
        if clock.cuda:
            torch.cuda.empty_cache()  # the other process needs the memory
        set_up = tool.ask(**request, **({"write": file} if exact_wanted else {}))
    except RuntimeError as e:
        yield dict(row, peer=None, missing=f"ours: {e}")
        return
    row.update(productFlops=set_up["productFlops"], products=set_up["products"], extraBytes=set_up["extraBytes"])
    exact, exact_error = None, None
    if exact_wanted:
        tensors = measure.read_safetensors(file, clock.device)
        os.remove(file)
        x, y = tensors["embeddings"], tensors.get("keys")
        exact = losses.exact(losses.Problem(kind, x, y, temperature, "f32"))[1]
        exact_error = error([tensors[n] for n in ("grad_embeddings", "grad_keys") if n in tensors], exact)
        del tensors
    else:
        x, y = (torch.randn(rows, dim, device=clock.device) for _ in range(2))
    row["error"] = number(exact_error)
    for peer, numbers, make in ways(options, precision, clock):
        yield dict(row, peer=peer, peerPrecision=numbers,
                   **measure_peer(options, tool, clock, losses.Problem(kind, x, None if kind == "nt-xent" else y, temperature, numbers), make, exact))


def measure_peer(options, tool, clock, problem, make, exact):
    set_precision(problem.precision)
    try:
        way = make(problem)
        work = lambda: way(problem)  # noqa: E731
        for _ in range(3):
            gradients = work()[1]
        result = {"peerError": None if exact is None else number(error(gradients, exact))}
        del gradients
        if hasattr(way, "note"):
            result["note"] = way.note
        result["peerExtraBytes"] = clock.extra_bytes(work)
        tool.ask(repeat=3)
        hot = measure.in_turn(tool, clock, work, options.seconds)
        cold = measure.in_turn(tool, clock, work, options.seconds / 2, cold=True)
    except NotImplementedError as e:
        return {"missing": str(e)}
    except torch.cuda.OutOfMemoryError if hasattr(torch.cuda, "OutOfMemoryError") else MemoryError:
        return {"missing": "out of memory"}
    except RuntimeError as e:
        return {"missing": "out of memory" if "memory" in str(e) else first_line(e)}
    except Exception as e:  # a compiler's: the other rows are worth having
        return {"missing": first_line(e)}
    finally:
        set_precision("f32")
    for name, figures in (("ours", hot[0]), ("theirs", hot[1]), ("ratio", hot[2]), ("oursCold", cold[0]), ("theirsCold", cold[1]), ("ratioCold", cold[2])):
        result[name] = measure.quantiles(figures)
    result["turns"] = len(hot[0])
    return result


def add_equivalents(row, ceilings):
    rate = ceilings["torch"].get(row["precision"])
    if "ours" in row and rate:
        unit = row["productFlops"] / rate / 1e6  # milliseconds of one product
        row["gemmEquivalents"] = row["ours"]["median"] / unit
        row["percentOfFloor"] = 100 * row["products"] / row["gemmEquivalents"]
        peer_rate = ceilings["torch"].get(row["peerPrecision"])
        row["peerGemmEquivalents"] = row["theirs"]["median"] * peer_rate * 1e6 / row["productFlops"] if peer_rate else None


HEADINGS = ["loss", "N", "D", "τ", "numbers", "peer", "ours ms [p20, p80]", "peer ms", "ratio [p20, p80]", "cold", "GEMM-eq.", "peer's", "% of floor",
            "error", "peer's", "extra MiB", "peer's", "note"]


def cells(row):
    start = [row["kind"], str(row["rows"]), str(row["dim"]), f"{row['temperature']:g}", row["precision"]]
    if row["peer"] is None:
        return start + [""] * 12 + [row["missing"]]
    peer = row["peer"] + (f", {row['peerPrecision']}" if row["peerPrecision"] != row["precision"] else "")
    if "missing" in row:
        return start + [peer] + [""] * 11 + [row["missing"]]
    ours, ratio = row["ours"], row["ratio"]

    def decimal(value):
        return "" if value is None else f"{value:.2f}"

    def scientific(value):
        return "" if value is None else value if isinstance(value, str) else f"{value:.1e}"

    def mebibytes(value):
        return "" if value is None else f"{value / 2 ** 20:.1f}"

    return start + [peer, f"{ours['median']:.4g} [{ours['p20']:.4g}, {ours['p80']:.4g}]", f"{row['theirs']['median']:.4g}",
                    f"{ratio['median']:.3f} [{ratio['p20']:.3f}, {ratio['p80']:.3f}]", f"{row['ratioCold']['median']:.3f}",
                    decimal(row.get("gemmEquivalents")), decimal(row.get("peerGemmEquivalents")),
                    f"{row['percentOfFloor']:.0f}" if "percentOfFloor" in row else "", scientific(row["error"]), scientific(row["peerError"]),
                    mebibytes(row["extraBytes"]), mebibytes(row["peerExtraBytes"]), row.get("note", "")]


def print_table(rows):
    lines = [HEADINGS, *[cells(row) for row in rows]]
    widths = [max(len(line[i]) for line in lines) for i in range(len(HEADINGS))]
    for i, line in enumerate(lines):
        print("| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths)) + " |")
        if i == 0:
            print("|" + "|".join("-" * (width + 2) for width in widths) + "|")


def commit():
    """Of the checkout, or what a bundle was made from."""
    root = os.path.dirname(os.path.dirname(HERE))
    try:
        with open(os.path.join(root, "COMMIT")) as f:
            return f.read().strip()
    except OSError:
        try:
            return subprocess.run(["git", "-C", root, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
        except (OSError, subprocess.CalledProcessError):
            return "unknown"


def describe(options, clock):
    report = {"date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"), "commit": commit(), "device": options.device,
              "torch": torch.__version__, "cuda": torch.version.cuda, "threads": None if clock.cuda else options.threads, "gemmSize": options.gemm}
    if clock.cuda:
        properties = torch.cuda.get_device_properties(clock.device)
        report["gpu"] = f"{properties.name}, compute capability {properties.major}.{properties.minor}, {properties.total_memory >> 20} MiB"
        try:
            import triton
            report["triton"] = triton.__version__
        except ImportError:
            report["triton"] = None
    return report


def main(options):
    device = torch.device(options.device)
    if device.type == "cuda":
        if not torch.cuda.is_available():
            sys.exit("run.py: this PyTorch finds no GPU. Use a build with CUDA on a machine with an NVIDIA driver, or --device cpu.")
        torch.cuda.set_device(device)
    else:
        torch.set_num_threads(options.threads)
    torch.manual_seed(1)
    sys.stdout.reconfigure(encoding="utf-8")  # the table has a τ
    clock, tool = measure.Clock(device), measure.Tool(options.tool, options.device, options.threads)
    report = describe(options, clock)
    ceilings = report["ceilings"] = {"torch": {}, "ours": {}}
    for precision in options.precisions:
        set_precision(precision)
        ceilings["torch"][precision] = clock.gemm_gflops(options.gemm, precision)
        set_precision("f32")
        try:
            ceilings["ours"][precision] = tool.ask(product=options.gemm, precision=precision)["gflops"]
        except RuntimeError:  # a precision that its plain product does not have
            pass
    report["rows"] = rows = []
    with tempfile.TemporaryDirectory() as folder:
        for spec in problems(options):
            for row in measure_problem(options, tool, clock, folder, spec):
                add_equivalents(row, ceilings)
                rows.append(row)
                if sys.stderr.isatty():
                    print(" ".join(cells(row)), file=sys.stderr)
            if options.out:  # a run that is cut off leaves what it has
                write(options.out, report)
    tool.close()
    print(f"{report.get('gpu', options.device)}; PyTorch {report['torch']}, CUDA {report['cuda']}, Triton {report.get('triton')}; {report['date']}, commit {report['commit']}")
    for side, rates in ceilings.items():
        print(f"Product of {options.gemm}³, {side}: " + ", ".join(f"{rate:,.0f} GFLOP/s in {precision}" for precision, rate in rates.items()))
    print_table(rows)
    if options.plot and options.out:
        subprocess.run([options.tool, "bench", "figure", options.out, "--plot", options.plot], check=True)


def write(path, report):
    with open(path + ".part", "w") as f:
        json.dump(report, f, indent=1, ensure_ascii=False, allow_nan=False)
        f.write("\n")
    os.replace(path + ".part", path)


if __name__ == "__main__":
    main(OPTIONS)
