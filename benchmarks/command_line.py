"""Whole-process times of the command line: medians of repeats, on this machine.

Run with the environment of `make demo`: `.venv/bin/python benchmarks/command_line.py`.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

REPEATS = 7
CASES = {
    "python -c pass": [sys.executable, "-c", "pass"],
    "import retrieval_eval": [sys.executable, "-c", "import retrieval_eval"],
    "retrieval-eval --help": [sys.executable, "-m", "retrieval_eval", "--help"],
    "run of a finished sweep": [
        *(sys.executable, "-m", "retrieval_eval", "run", "experiments/quickstart.yaml"),
        "--skip-unavailable",
    ],
}


def main() -> None:
    """Time every case and print minimum, median and maximum in seconds."""
    print(f"{'case':26} {'min':>7} {'median':>7} {'max':>7}   seconds, {REPEATS} runs")
    for name, command in CASES.items():
        subprocess.run(command, check=True, capture_output=True)
        times = []
        for _ in range(REPEATS):
            start = time.perf_counter()
            subprocess.run(command, check=True, capture_output=True)
            times.append(time.perf_counter() - start)
        print(f"{name:26} {min(times):7.3f} {statistics.median(times):7.3f} {max(times):7.3f}")


if __name__ == "__main__":
    main()
