"""`python -m benchmarks [NAME…]`: Markdown on standard output, progress on standard error."""

from __future__ import annotations

import argparse
import importlib
import os
import sys

from benchmarks.harness import render
from benchmarks.machine import describe

#: Name -> what it answers.
BENCHMARKS = {
    "registry_hit": "what asking for a loaded model costs",
    "consumers": "twenty consumers against one",
    "plugin_overhead": "what the installed plugin adds to pytest",
    "suite40": "forty tests, with a session fixture and with embedding_model (ten minutes)",
    "vector_reads": "stored vectors by text, from our tiers and from others' stores",
    "vector_writes": "eight processes that write into one store",
    "vector_tables": "the same texts again, a new one, and after a restart",
    "vector_suite": "forty tests whose vectors are stored, and forty without a model (six minutes)",
    "dropin_suite": "forty tests that nobody edited, with --embedcache-dropin (five minutes)",
    "host": "forty tests cold on eight workers, with a model host; a kept one (ten minutes)",
    "libraries": "five libraries, unchanged, with the drop-in (environment `libraries`)",
    "fakes": "what the similarity of fakes has in common with that of a real model",
    "strategies": "what a preload costs its caller, and what it saves him (fifteen minutes)",
    "recordings": "10,000 recorded vectors against a warm SQLite store",
    "onnx_start": "a fresh process to its first vector, prepared and with torch",
    "onnx_throughput": "texts per second of prepared models, and of torch (ten minutes)",
    "onnx_memory": "memory of prepared models, and of torch (five minutes)",
    "onnx_small": "size and agreement of small forms",
    "service_core": "texts in flight, an event loop beside the model, and a remote that is far",
    "search_command": "embedcache index search in a fresh process (five minutes)",
    "service_http": "the service over HTTP, beside a minimal FastAPI app (five minutes)",
    "soak": "mixed load on the service, and whether its memory stays flat (ten minutes)",
    "search_index": "a search in 1,000 to 50,000 entries, and what else does it (minutes)",
    "search_graphs": "which approximate search: usearch and faiss (an hour, to encode once)",
    "search_million": "a million entries: exact, and by a graph (hours, to encode them once)",
    "gate_errors": "how often a speed-up gate is wrong (two minutes)",
}


def main() -> None:
    sys.stdout.reconfigure(encoding="utf-8")  # type: ignore[union-attr]
    listed = "\n".join(f"  {name:<16} {about}" for name, about in BENCHMARKS.items())
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=f"Numbers; nothing passes or fails by them.\n\n{listed}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="default: all")
    parser.add_argument("--quick", action="store_true", help="to see that they run; no figures")
    parser.add_argument("--minutes", type=float, help="of `soak` (10)")
    options = parser.parse_args()
    if unknown := set(options.names) - set(BENCHMARKS):
        parser.error(f"unknown: {', '.join(sorted(unknown))} (known: {', '.join(BENCHMARKS)})")
    # Read when huggingface_hub is imported: no bar for every load.
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    for line in describe():
        print(f"- {line}")
    for name in options.names or BENCHMARKS:
        own = {"minutes": options.minutes} if name == "soak" and options.minutes else {}
        report = importlib.import_module(f"benchmarks.{name}").run(quick=options.quick, **own)
        print("", *render(report), sep="\n", flush=True)


if __name__ == "__main__":
    main()
