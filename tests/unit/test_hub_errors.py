"""What the errors of fetching say."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_embedcache.errors import ModelNotFoundError
from pytest_embedcache.models import hub


def test_who_meant_a_directory_learns_that_it_is_not_there(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Without a network, and where the network is forbidden."""
    told = "no directory here has that name"
    dead = hub._explained("models/my-model", "main", tmp_path, ConnectionError("away"))
    assert told in str(dead)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ModelNotFoundError, match=told):
        hub.HubFetcher().fetch("models/my-model", "main", tmp_path, token=None, force=False)
