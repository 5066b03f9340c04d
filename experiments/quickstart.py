"""The sweep of quickstart.yaml, by the Python API that the command line uses too."""

from retrieval_eval import Sweep, run_sweep

sweep = Sweep(
    name="quickstart",
    datasets=["stdlib"],
    encoders=[
        {"lsa": {"dim": 256, "split_identifiers": True, "label": "lsa"}},
        {"wordllama": {"dim": 256, "label": "wordllama"}},
    ],
    indexes=[
        "flat",
        {"hnsw": {"M": 16, "search": {"ef": [100, 200]}}},
        {"faiss-hnsw": {"M": 32, "search": {"ef": [100, 200]}}},
        {"ivf-flat": {"nlist": 64, "search": {"nprobe": [4, 16]}}},
        {"ivf-pq": {"nlist": 64, "m": 32, "search": {"nprobe": [4, 16]}}},
    ],
    compare={"reference": "flat", "margin": {"nDCG@10": 0.01}},
    seed=13,
)
results = run_sweep(sweep, skip_unavailable=True)
results.show()
