from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.hosts import LocalHost, Worker, private_place, run_address
from support.models import tiny_bert

from pytest_embedcache import notices


@pytest.fixture(autouse=True)
def place(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where sockets are, apart from those of this user."""
    with private_place() as folder:
        monkeypatch.setenv("XDG_RUNTIME_DIR", folder)
        notices.reset()
        yield Path(folder)
        notices.reset()


@pytest.fixture
def bert(tmp_path: Path) -> Path:
    return tiny_bert(tmp_path / "model")


@pytest.fixture
def host(place: Path) -> Iterator[LocalHost]:
    made = LocalHost(run_address())
    yield made
    made.hang_up()


@pytest.fixture
def worker(host: LocalHost) -> Iterator[Callable[..., Worker]]:
    """`worker(**options)`: one that knows the host."""
    made: list[Worker] = []

    def make(**options: object) -> Worker:
        made.append(Worker(host.address, **options))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for one in made:
        one.link.close()
