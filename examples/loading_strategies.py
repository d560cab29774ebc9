#!/usr/bin/env python3
"""Five ways to load a model, each in a process of its own, with what they cost.

all, lazy, background, progressive, quantized, cached: the strategies. convenience: what a caller
uses who has keywords to fall back to. resources: what this machine offers, and what follows.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable

from real_model import MODEL, real_model
from scenario import duration

STRATEGIES = ("lazy", "background", "progressive", "quantized", "cached")
#: What the caller does meanwhile, in seconds: it waits for somebody else.
OTHER_WORK = 0.5


def strategy(name: str, model: str) -> None:
    start = time.perf_counter()
    from pytest_embedcache import preload

    preloaded = preload(model, strategy=name)
    _say("import and preload", start)
    time.sleep(OTHER_WORK)
    start = time.perf_counter()
    found = preloaded.wait(600)
    _say(f"wait for it, after {duration(OTHER_WORK)} of other work", start)
    print(f"  dimension {found.metadata.dimension}, loaded: {'yes' if found.is_loaded else 'no'}")
    start = time.perf_counter()
    found.encode(f"A text that nobody has encoded before, by {name} in {os.getpid()}.")
    _say("first vector", start)
    start = time.perf_counter()
    found.encode(f"Another one, by {name} in {os.getpid()}.")
    _say("second vector", start)
    vector = found.encode("A text of all strategies.")
    shown = ", ".join(f"{value:+.4f}" for value in vector[:3])
    print(f"  served by the backend {found.spec.backend}, form {found.spec.form}: {shown}, …")
    if (agreement := getattr(found.metadata, "agreement", None)) is not None:
        print(f"  agreement with float32: {agreement}")
    if (memory := _resident()) is not None:
        print(f"  memory at most {memory / 1e6:.0f} MB")


def convenience(model: str) -> None:
    from pytest_embedcache import get_embedding_provider, preload_embeddings

    start = time.perf_counter()
    preload_embeddings(model)
    _say("preload_embeddings", start)
    start = time.perf_counter()
    provider = get_embedding_provider(model, timeout=600)
    _say("get_embedding_provider", start)
    print(f"  provider: {provider!r}")
    nothing = get_embedding_provider(os.path.join("no", "such", "model"), timeout=60)
    print(
        f"  of a model that there is not: {nothing!r}, and the log says why: fall back to keywords"
    )


def resources(model: str) -> None:
    from pytest_embedcache import ResourceProfile

    start = time.perf_counter()
    profile = ResourceProfile.here()
    _say("looking", start)
    print(f"  cores: {profile.cores}")
    free = profile.memory_free
    print(f"  memory free: {'not known' if free is None else f'{free / 2**30:.1f} GiB'}")
    print(f"  accelerators: {', '.join(a.name for a in profile.accelerators) or 'none'}")
    print(f"  disk: {profile.disk.kind or 'not known'} ({profile.disk.reason})")
    print(f"  device: {profile.recommended_device()}")
    print(f"  padded tokens in a batch: {profile.recommended_batch_size(model)}")


def _say(what: str, start: float) -> None:
    print(f"  {what}: {duration(time.perf_counter() - start)}")


def _resident() -> int | None:
    """Bytes at most so far."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


OTHERS: dict[str, Callable[[str], None]] = {"convenience": convenience, "resources": resources}


def main() -> None:
    sys.stdout.reconfigure(encoding="utf-8")  # type: ignore[union-attr]
    parser = argparse.ArgumentParser(description=__doc__)
    names = (*STRATEGIES, *OTHERS)
    parser.add_argument("what", nargs="?", default="all", choices=("all", *names))
    parser.add_argument("--model", help=f"a name or a directory (default: {MODEL})")
    options = parser.parse_args()
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    if options.what != "all":
        with real_model(options.model) as model:
            print(options.what)
            if options.what in OTHERS:
                OTHERS[options.what](model)
            else:
                strategy(options.what, model)
        return
    with real_model(options.model) as model:  # for all of them: what is prepared stays
        for name in names:
            command = [sys.executable, __file__, name, "--model", model]
            sys.stdout.flush()
            if subprocess.run(command, check=False).returncode:
                sys.exit(f"❌ {name} failed")
    print("\n✅ SUCCESS: five strategies, one model")


if __name__ == "__main__":
    main()
