from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.command import Command
from support.redis_server import RedisServer, free_port


@pytest.fixture
def command(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tiny: Path
) -> Command:
    """The command, whose model is a light one in a directory."""
    monkeypatch.setenv("EMBEDCACHE_MODEL", str(tiny))
    return Command(capsys, monkeypatch, tmp_path / "light.log")


@pytest.fixture
def roles(tiny: Path) -> Path:
    """The model, which treats queries and documents differently."""
    config = {"prompts": {"query": "find: ", "document": "text: "}}
    (tiny / "config_sentence_transformers.json").write_text(json.dumps(config))
    return tiny


@pytest.fixture
def redis(monkeypatch: pytest.MonkeyPatch) -> Iterator[RedisServer]:
    """A server with a password, set in the environment."""
    server = RedisServer("--requirepass", "hunter2", port=free_port()).start()
    monkeypatch.setenv("EMBEDCACHE_REDIS_URL", f"redis://:hunter2@127.0.0.1:{server.port}/0")
    yield server
    server.close()
