"""Libraries that use sentence-transformers, as they are on PyPI, in suites with the drop-in.

They bring much, so they have an environment of their own: `run.py test libraries`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
from support.children import ROOT

LIBRARIES = {
    "chroma": "chromadb",
    "langchain": "langchain_huggingface",
    "llama_index": "llama_index.embeddings.huggingface",
    "keybert": "keybert",
    "bertopic": "bertopic",
}
#: They import names of transformers that they do not use here.
DEFERRING = ("keybert", "bertopic")
#: What a run needs no more than any other.
QUIET = ("-p", "embedcache", "-p", "no:cacheprovider", "-p", "no:randomly")
#: Each use is a test of a suite; what came out is written down, and who imported torch.
SUITE = f"""
    import json
    import os
    import sys
    from pathlib import Path

    import pytest

    sys.path.append({str(ROOT)!r})
    from benchmarks.library_uses import USES, WatchTorch

    watch = WatchTorch()
    sys.meta_path.insert(0, watch)

    @pytest.mark.parametrize("library", USES)
    def test_use(library):
        out = USES[library](os.environ["MODEL"])
        torch = watch.chain if "torch" in sys.modules else None
        Path(os.environ["OUT"], f"{{library}}.json").write_text(json.dumps([out, torch]))
"""


def is_there(library: str) -> bool:
    """Whether it is installed."""
    try:
        return find_spec(LIBRARIES[library]) is not None
    except ModuleNotFoundError:  # of a namespace
        return False


if not all(map(is_there, LIBRARIES)):
    pytest.skip("needs five libraries (environment `libraries`)", allow_module_level=True)


class Runs:
    """Fresh runs of the suite, which share a cache directory."""

    def __init__(self, folder: Path, model: Path) -> None:
        self.folder = folder
        self._environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith("PYTEST_XDIST")},
            "EMBEDCACHE_DIR": str(folder / "cache"),
            "HF_HOME": str(folder / "hf"),
            "HF_HUB_OFFLINE": "1",
            "MODEL": str(model),
            "OUT": str(folder),
            "ANONYMIZED_TELEMETRY": "false",
            "OMP_NUM_THREADS": "1",
        }
        (folder / "test_use.py").write_text(dedent(SUITE))
        (folder / "pytest.ini").write_text("[pytest]\n")

    def run(self, *libraries: str, arguments: tuple[str, ...]) -> dict[str, Any]:
        """What these give in one run: what came out, and who imported torch."""
        chosen = " or ".join(f"[{library}]" for library in libraries)
        ran = subprocess.run(
            [*(sys.executable, "-m", "pytest", "-q", "-k", chosen), *QUIET, *arguments],
            cwd=self.folder,
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=900,
        )
        assert ran.returncode == 0, ran.stdout + ran.stderr
        return {name: json.loads((self.folder / f"{name}.json").read_text()) for name in libraries}


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory, minilm: Path) -> Runs:
    return Runs(tmp_path_factory.mktemp("libraries"), minilm)


@pytest.fixture(scope="session")
def naive(runs: Runs) -> dict[str, Any]:
    """What all of them give without the drop-in."""
    return runs.run(*LIBRARIES, arguments=())


@pytest.fixture(scope="session")
def cold(runs: Runs) -> dict[str, Any]:
    """What all of them give with it, and with nothing stored before."""
    return runs.run(*LIBRARIES, arguments=("--embedcache-dropin",))


@pytest.mark.parametrize("library", LIBRARIES)
def test_nothing_changes_but_the_work(
    runs: Runs, naive: dict[str, Any], cold: dict[str, Any], library: str
) -> None:
    """The same vectors, keywords and topics, cold and warm; warm, in a fresh process, no model is
    loaded, and torch is imported by nobody but BERTopic itself."""
    deferring = ("--embedcache-dropin-defer",) if library in DEFERRING else ()
    arguments = ("--embedcache-dropin", "--embedcache-json=counts.json", *deferring)
    warm = runs.run(library, arguments=arguments)
    for found in (cold, warm):
        assert same(found[library][0], naive[library][0]), found[library][0]
    totals = json.loads((runs.folder / "counts.json").read_text())["totals"]
    assert totals["computed"] == totals["loads"] == 0
    assert totals["found"] == totals["asked"] - totals["shared"] > 0
    chain = warm[library][1]
    if library == "bertopic":
        assert chain is not None
        assert chain[0] == "bertopic._save_utils"
    else:
        assert chain is None


def same(one: Any, other: Any) -> bool:
    """Numbers to what two batches differ by (KeyBERT rounds to four digits); all else exactly."""
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, float):
        rounded = one == round(one, 4) and other == round(other, 4)
        return abs(one - other) < (1.1e-4 if rounded else 1e-5)
    return bool(one == other)
