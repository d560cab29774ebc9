"""The service's counts: true, resettable, and as Prometheus wants them."""

from __future__ import annotations

import sys
from decimal import Decimal
from pathlib import Path

import pytest
from support.serving import Serving, serving

from pytest_embedcache.errors import EncodeError, MissingExtraError

TEXT = "a secret that no label may have"


def used(s: Serving) -> None:
    """Two texts computed, two found, one query, one error."""
    s.sync.embed_batch([TEXT, "b"])
    s.sync.embed_batch([TEXT, "b"])
    s.sync.embed_query("c")
    s.w.inner().reshape = lambda rows: rows[:-1]
    with pytest.raises(EncodeError):
        s.sync.embed_text("d")


def test_the_counts_are_what_was_done(tmp_path: Path) -> None:
    """In all, and for each model; and a reset begins anew."""
    with serving(tmp_path) as s:
        assert s.service.get_metrics()["cache_hit_rate"] is None
        used(s)
        found = s.service.get_metrics()
        assert found["models_loaded"] == ["m"]
        assert found["queued"] == 0
        for counts in (found, found["models"]["m"]):
            assert counts["total_requests"] == 4
            assert counts["total_errors"] == 1
            assert counts["total_texts"] == 5
            assert counts["total_embeddings_generated"] == 3
            assert counts["cache_hits"] == 2
            assert counts["cache_hit_rate"] == 0.4
            assert counts["total_cost_usd"] == Decimal(0)
        s.service.reset_metrics()
        assert s.service.get_metrics()["total_texts"] == 0
        s.sync.embed_text(TEXT)
        assert s.service.get_metrics()["cache_hit_rate"] == 1.0


def test_prometheus_is_told_the_same(tmp_path: Path) -> None:
    """By names with units, with the four labels that there are, and without any text."""
    pytest.importorskip("prometheus_client")
    from prometheus_client.parser import text_string_to_metric_families

    with serving(tmp_path) as s:
        used(s)
        text, kind = s.service.prometheus()
    assert kind.startswith("text/plain")
    assert TEXT.encode() not in text
    families = {f.name: f for f in text_string_to_metric_families(text.decode())}
    assert {name.partition("_")[0] for name in families} == {"embedcache"}
    gauges = ("ratio", "resident", "texts", "down", "bytes")
    for family in families.values():
        for sample in family.samples:
            assert set(sample.labels) <= {"model", "provider", "tier", "role", "le"}
        if family.type == "counter":
            assert all(sample.name.endswith("_total") for sample in family.samples)
        else:
            assert family.name.endswith(("_seconds", *gauges))

    def value(name: str, **labels: str) -> float:
        family = families[name.removesuffix("_total").removesuffix("_count")]
        (found,) = (
            sample.value
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )
        return float(found)

    document = {"model": "m", "provider": "local", "role": "document"}
    assert value("embedcache_embeddings_total", **document) == 2
    assert value("embedcache_texts_cached_total", **document) == 2
    assert value("embedcache_cache_hit_ratio", **document) == 0.5
    assert value("embedcache_request_errors_total", **document) == 1
    assert value("embedcache_request_seconds_count", **document) == 3
    assert value("embedcache_batch_texts_count", role="query") == 1
    assert value("embedcache_cost_spent_usd_total", **document) == 0
    assert value("embedcache_model_loads_total", model="m") == 1
    assert value("embedcache_models_resident", model="m") == 1
    assert value("embedcache_queue_texts", model="m") == 0
    assert value("embedcache_tier_hits_total", tier="memory") == 2
    assert value("embedcache_tier_down", tier="memory") == 0


def test_models_of_one_name_have_their_own_counts(tmp_path: Path) -> None:
    """Two rows may ask for one name at two places, or in two versions."""
    table = "".join(
        f'[models.{name}]\nbackend = "pure"\nmodel = "m"\ndevice = "{device}"\n'
        for name, device in (("one", "meta"), ("two", "cpu"), ("same", "cpu"))
    )
    with serving(tmp_path, table=table) as s:
        s.w.inner()
        s.sync.embed_text("a", model="one", use_cache=False)
        for name in ("two", "same"):
            s.sync.embed_text("a", model=name)
        one = s.service._calls.models.get("one")
        assert one is not None
        handle = s.w.registry.loaded(one.model.spec)
        assert handle is not None
        assert handle.unload()
        s.sync.embed_text("b", model="one", use_cache=False)
        counts = s.service._calls.models.counts()
        loads = {name: counted.loads for name, counted in counts.items()}
        assert loads == {"one": 2, "two": 1, "same": 1}
        assert s.service.get_metrics()["model_loads"] == 3


def test_without_the_package_it_says_which_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the counts are there all the same."""
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    with serving(tmp_path) as s:
        with pytest.raises(MissingExtraError, match=r"pytest-embedcache\[serve\]"):
            s.service.prometheus()
        assert s.service.get_metrics()["total_texts"] == 0
