"""Clocks, memory and the tool that is held against PyTorch."""
import ctypes
import json
import statistics
import struct
import subprocess
import time
import torch

FLUSH_BYTES = 256 << 20
REST_SECONDS = 0.01


def quantiles(values):
    """Median, 20th and 80th percentile, as the tool's own tables have them."""
    ordered = sorted(values)

    def at(quantile):
        position = quantile * (len(ordered) - 1)
        below = int(position)
        above = min(below + 1, len(ordered) - 1)
        return ordered[below] + (position - below) * (ordered[above] - ordered[below])

    return {"median": at(0.5), "p20": at(0.2), "p80": at(0.8)}


class Tool:
    """kernelcontrast bench loss --serve: a line of JSON in, one out."""

    def __init__(self, path, device, threads):
        command = [path, "bench", "loss", "--serve", "--device", device]
        if device == "cpu":
            command += ["--threads", str(threads)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, **request):
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"run.py: the tool ended with exit code {self.process.wait()}")
        answer = json.loads(line)
        if "error" in answer:
            raise RuntimeError(answer["error"])
        return answer

    def milliseconds(self, repeat, cold=False):
        return statistics.median(self.ask(repeat=repeat, cold=cold)["milliseconds"])

    def close(self):
        self.process.stdin.close()
        self.process.wait()


class Clock:
    """PyTorch's side: events on CUDA, the host's clock on the CPU."""

    def __init__(self, device):
        self.device, self.cuda = device, device.type == "cuda"
        self.flush = None
        if self.cuda:
            self.events = [torch.cuda.Event(enable_timing=True) for _ in range(2)]

    def once(self, work, cold=False):
        if cold:
            if self.flush is None:
                self.flush = torch.empty(FLUSH_BYTES, dtype=torch.uint8, device=self.device)
            self.flush.zero_()
        if not self.cuda:
            start = time.perf_counter()
            work()
            return (time.perf_counter() - start) * 1e3
        torch.cuda.synchronize(self.device)
        self.events[0].record()
        work()
        self.events[1].record()
        self.events[1].synchronize()
        return self.events[0].elapsed_time(self.events[1])

    def milliseconds(self, work, repeat, cold=False):
        return statistics.median(self.once(work, cold) for _ in range(repeat))

    def extra_bytes(self, work):
        """The most memory in use during work, less what was before: the allocator's own count on CUDA; on the CPU the
        process's resident set, which hides what malloc had kept."""
        if self.cuda:
            torch.cuda.synchronize(self.device)
            torch.cuda.reset_peak_memory_stats(self.device)
            before = torch.cuda.memory_allocated(self.device)
            work()
            torch.cuda.synchronize(self.device)
            return torch.cuda.max_memory_allocated(self.device) - before
        try:
            ctypes.CDLL("libc.so.6").malloc_trim(0)
            with open("/proc/self/clear_refs", "w") as f:
                f.write("5")  # the high-water mark starts anew
            before = resident("VmRSS")
            work()
            return max(0, resident("VmHWM") - before)
        except OSError:
            return None

    def gemm_gflops(self, size, precision):
        a, b = (torch.randn(size, size, device=self.device) for _ in range(2))
        if precision == "bf16":
            a, b = a.bfloat16(), b.bfloat16()
        a @ b
        return 2 * size ** 3 / self.milliseconds(lambda: a @ b, 5) / 1e6


def resident(name):
    with open("/proc/self/status") as f:
        return next(int(line.split()[1]) * 1024 for line in f if line.startswith(name))


def in_turn(tool, clock, work, seconds, cold=False):
    """Both sides A B A B, three runs to a turn (cold: one), a rest before each turn: (ours, theirs, ratios) by turn."""
    repeat, ours, theirs = 1 if cold else 3, [], []
    end = time.perf_counter() + seconds
    while len(ours) < 5 or (len(ours) < 200 and time.perf_counter() < end):
        time.sleep(REST_SECONDS)
        ours.append(tool.milliseconds(repeat, cold))
        time.sleep(REST_SECONDS)
        theirs.append(clock.milliseconds(work, repeat, cold))
    return ours, theirs, [a / b for a, b in zip(ours, theirs)]


def read_safetensors(path, device):
    with open(path, "rb") as f:
        header = json.loads(f.read(struct.unpack("<Q", f.read(8))[0]))
        data = bytearray(f.read())
    tensors = {}
    for name, entry in header.items():
        if name != "__metadata__" and entry["dtype"] == "F32":
            begin, end = entry["data_offsets"]
            tensors[name] = torch.frombuffer(data[begin:end], dtype=torch.float32).view(entry["shape"]).to(device)
    return tensors
