"""What importing the stores costs, and what a hit does."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from support.children import python
from support.models import add_to_hub_cache, tiny_bert


@pytest.mark.parametrize(
    ("module", "unwanted"),
    [
        ("pytest_embedcache.vectors", {"numpy", "sqlite3", "redis"}),
        ("pytest_embedcache.vectors.keys", {"numpy", "sqlite3", "redis"}),
        ("pytest_embedcache.vectors.store", {"numpy", "sqlite3", "redis"}),
        ("pytest_embedcache.vectors.tiered", {"sqlite3", "redis", "torch"}),
        ("pytest_embedcache.vectors.sqlite", {"redis", "torch", "filelock", "platformdirs"}),
        ("pytest_embedcache.vectors.redis", {"redis", "sqlite3", "torch"}),
    ],
)
def test_importing_brings_only_what_is_needed(
    module: str, unwanted: set[str], tmp_path: Path
) -> None:
    """Each store brings its own driver and nothing else."""
    code = f"import sys, {module}; print(*sys.modules)"
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    loaded = set(ran.stdout.split())
    assert module in loaded
    assert unwanted.isdisjoint(loaded)


#: What only a load needs, or a preparation, another backend, a look at the counts, a conversion.
NOT_FOR_A_HIT = {
    *("models.building", "models.generations", "models.hub", "models.importing", "models.limits"),
    *("models.locking", "models.naming", "models.onnx", "models.precision", "models.progress"),
    *("models.backends.onnx", "models.backends.openai", "models.batching", "models.host"),
    *("models.remote", "models.watching", "vectors.billed", "vectors.redis", "vectors.recording"),
    *("vectors.similarity", "vectors.store", "testing", "plugin", "service", "search"),
}
#: Each costs a tenth of a millisecond, in every process of every run.
MODULES_OF_A_HIT = 63
#: Of others, beside numpy's own: 0.3 to 20 ms each.
NOR_THESE = {
    "torch",
    "filelock",
    "platformdirs",
    "huggingface_hub",
    "secrets",
    "asyncio",
}


def test_a_hit_imports_no_more_than_it_needs(tmp_path: Path, hub_cache: Path) -> None:
    """From the name of a model on the Hub to a stored vector, in a process of its own."""
    add_to_hub_cache(hub_cache, "org/tiny", tiny_bert(tmp_path / "tiny"), blobs=True)
    model = "from pytest_embedcache import get_model; m = get_model('org/tiny')\n"
    store = "from pytest_embedcache.vectors.api import default_cache; s = default_cache().store\n"
    put = (
        "import numpy; s.put_many(m.fingerprint, {k: numpy.ones(16, 'f4') for k in m.keys(['a'])})"
    )
    python(model + store + put)
    hit = f"import sys, numpy; known = set(sys.modules)\n{model}v = m.encode('a')\n"
    shown = "print(v.sum(), m.is_loaded, *set(sys.modules) - known)"
    total, loaded, *names = python(hit + shown).split()
    assert (total, loaded) == ("16.0", "False")
    ours = {name.removeprefix("pytest_embedcache.") for name in names if "embedcache" in name}
    assert "vectors.sqlite" in ours
    assert len(ours) <= MODULES_OF_A_HIT, sorted(ours)
    assert not {name for name in ours if any(f"{name}.".startswith(f"{n}.") for n in NOT_FOR_A_HIT)}
    assert NOR_THESE.isdisjoint(names)
