"""`embedcache serve` whose models are fakes: `python -m support.fake_server --port 0`.

A text that begins with `hold ` names a directory with two pipes, and is encoded when the test has
opened both: the first tells that the text has arrived, the second lets it go.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from pytest_embedcache.cli import main
from pytest_embedcache.models import defaults
from pytest_embedcache.testing.fake_backend import FakeBackend, FakePolicy
from pytest_embedcache.testing.fakes import FakeEmbeddingModels
from pytest_embedcache.vectors.api import StoreSettings, open_cache

HOLD = "hold "


class Held(FakeEmbeddingModels):
    """Fakes that wait where a text says so."""

    def on_call(self, call: Any) -> Any:
        for text in call.texts:
            if text.startswith(HOLD):
                place = Path(text.removeprefix(HOLD))
                (place / "arrived").open("w").close()
                (place / "go").open().close()
        return super().on_call(call)


def serve(*arguments: str) -> int:
    models = Held()
    backend = FakeBackend(models, models)
    defaults.backends = dict.fromkeys(("torch", "onnx", "fake"), backend)
    # All tiers, as for real models, which have no vectors in it.
    defaults.cache_factory = lambda: open_cache(
        StoreSettings.from_environment(), policy=FakePolicy()
    )
    return main(["serve", *arguments])


if __name__ == "__main__":
    sys.exit(serve(*sys.argv[1:]))
