"""How a case is measured: in a process of its own, counting the repetitions in which nobody else had our cores."""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

import torch

# A repetition counts when our threads waited for a core during less than this share of it.
LARGEST_WAIT = 0.04
# Short work is repeated until one repetition lasts this long: long enough to see who else ran.
SHORTEST_REPETITION_S = 0.1
# On a machine that is never quiet a case ends after this long, and at least LEAST_REPETITIONS.
LONGEST_CASE_S = 120.0
LEAST_REPETITIONS = 3


@dataclass
class Work:
    """What is timed, ready to run, and how many tokens one run handles."""

    run: Callable[[], object]
    tokens: int | None = None


def seconds_waited() -> float:
    """How long this process's threads, all together, were ready to run and had no core (Linux)."""
    waited = 0
    for task in Path("/proc/self/task").iterdir():
        try:
            waited += int((task / "schedstat").read_text().split()[1])
        except FileNotFoundError:
            pass  # the thread ended meanwhile
    return waited * 1e-9


def wait_for_quiet(deadline: float) -> None:
    """Returns when the cores were idle for nine tenths of half a second, or at the deadline."""

    def ticks() -> list[int]:
        return [int(field) for field in Path("/proc/stat").read_text().splitlines()[0].split()[1:]]

    while time.perf_counter() < deadline:
        before = ticks()
        time.sleep(0.5)
        passed = [after - earlier for after, earlier in zip(ticks(), before)]
        # The fourth and fifth fields are idle and waiting for a disk.
        if sum(passed[3:5]) >= 0.9 * sum(passed):
            return


def peak_rss_gib() -> float:
    """The most memory that this process has had resident."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def measure(work: Work, reps: int) -> dict:
    """The median over clean repetitions; over all of them where too few were clean, as `clean` then shows."""
    work.run()
    start = time.perf_counter()
    work.run()
    runs = max(1, round(SHORTEST_REPETITION_S / (time.perf_counter() - start)))

    clean, times = [], []
    deadline = time.perf_counter() + LONGEST_CASE_S
    while len(times) < LEAST_REPETITIONS or (len(clean) < reps and time.perf_counter() < deadline):
        waited, start = seconds_waited(), time.perf_counter()
        for _ in range(runs):
            work.run()
        elapsed = time.perf_counter() - start
        times.append(elapsed / runs)
        if seconds_waited() - waited < LARGEST_WAIT * elapsed:
            clean.append(elapsed / runs)
        else:
            wait_for_quiet(deadline)
    median = statistics.median(clean if len(clean) >= LEAST_REPETITIONS else times)
    return {
        "median_s": median,
        "best_s": min(times),
        "tokens_per_s": work.tokens / median if work.tokens else None,
        "peak_rss_gib": peak_rss_gib(),
        "clean": f"{len(clean)}/{len(times)}",
    }


def main(description: str, cases: dict[tuple[str, str], Callable[[], Work]]) -> None:
    """Measures the cases, keyed by (what, case), each in a fresh process so that its peak memory is its own."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--reps", type=int, default=7, help="clean repetitions wanted (default: 7)")
    parser.add_argument("--threads", type=int, default=2, help="threads of PyTorch (default: 2)")
    parser.add_argument("--only", default="", help="only the cases whose name contains this")
    parser.add_argument("--in-this-process", help=argparse.SUPPRESS)
    arguments = parser.parse_args()

    by_name = {" ".join(key): (key, make) for key, make in cases.items()}
    if arguments.in_this_process is None:
        chosen = [name for name in by_name if arguments.only in name]
        if not chosen:
            parser.error(f"--only: expected part of one of {', '.join(by_name)}, found {arguments.only}")
        for name in chosen:
            subprocess.run([sys.executable, *sys.argv, "--in-this-process", name], check=True)
        return

    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    (what, case), make = by_name[arguments.in_this_process]
    measured = measure(make(), arguments.reps)
    row = {"what": what, "case": case, **measured, "torch": torch.__version__, "threads": arguments.threads}
    if preloaded := os.environ.get("LD_PRELOAD"):
        row["preloaded"] = preloaded
    print(json.dumps({key: float(f"{value:.4g}") if isinstance(value, float) else value for key, value in row.items()}))
