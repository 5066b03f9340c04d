"""Peak memory of a fresh process that loads an index and searches it.

Differences of one process' size before and after say nothing: freed memory is used again, and a
library may hold back what it freed. So a child process does the work and reads its own peak.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from retrieval_eval.indexes import INDEXES, Index

__all__ = ["peak_memory"]

_QUERIES = 10
_SECONDS = 600


def peak_memory(
    index_class: type[Index],
    folder: Path,
    facts: Mapping[str, Any],
    queries: Any,
    threads: int | None,
) -> tuple[int | None, str]:
    """Load an index in a fresh process, answer ten queries, and return its peak memory.

    Parameters
    ----------
    index_class : type
        The backend.
    folder : Path
        The files of the index.
    facts : mapping
        What :meth:`Index.write_files` returned.
    queries : ndarray of float or csr_array, shape (q, d)
        The first ten are asked, each with default settings and k = 10.
    threads : int or None
        For searching.

    Returns
    -------
    int or None
        Peak resident memory in bytes, the interpreter and its libraries included; None where it
        could not be measured.
    str
        Why it could not; else empty.
    """
    if not Path("/proc/self/status").is_file():
        return None, "this system does not tell a process its peak memory"
    with tempfile.TemporaryDirectory() as scratch:
        asked = Path(scratch) / "queries.npy"
        first = queries[:_QUERIES]
        if index_class.takes == "sparse":
            from scipy.sparse import save_npz

            asked = asked.with_suffix(".npz")
            save_npz(asked, first, compressed=False)
        else:
            np.save(asked, np.asarray(first, dtype=np.float32))
        job = {
            "class": f"{index_class.__module__}:{index_class.__qualname__}",
            "folder": str(folder),
            "facts": dict(facts),
            "queries": str(asked),
            "threads": threads,
        }
        try:
            done = subprocess.run(  # noqa: S603 (this interpreter, and this module)
                [sys.executable, "-m", __name__],
                input=json.dumps(job),
                capture_output=True,
                text=True,
                timeout=_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return None, f"peak memory: a fresh process took more than {_SECONDS} s"
    if done.returncode:  # such as a class that only this process can import
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        return None, f"peak memory: a fresh process could not search the index: {last}"
    return int(json.loads(done.stdout)["peak_rss_bytes"]), ""


def _search_and_report() -> None:
    job = json.load(sys.stdin)
    index = INDEXES.load(job["class"]).restore(
        Path(job["folder"]), job["facts"], threads=job["threads"]
    )
    if index.takes == "sparse":
        from scipy.sparse import csr_array, load_npz

        queries: Any = csr_array(load_npz(job["queries"]))
    else:
        queries = np.load(job["queries"])
    index.search(queries, 10)
    index.close()
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    peak = next(line for line in lines if line.startswith("VmHWM"))
    sys.stdout.write(json.dumps({"peak_rss_bytes": 1024 * int(peak.split()[1])}))


if __name__ == "__main__":
    _search_and_report()
