"""Fakes in a run: the fixtures, the mode `fake`, and the guard against real models."""

from __future__ import annotations

from support.suites import Suite, complaints, outcome

FIXTURES = """
    def test_it_is_a_fake_of_the_runs_model(fake_embedding_model):
        assert fake_embedding_model.name == "all-mpnet-base-v2"
        assert fake_embedding_model.encode(["a cat"]).shape == (1, 768)
        assert fake_embedding_model.texts == ["a cat"]

    def test_every_test_has_its_own(fake_embedding_model, fake_embedding_model_factory):
        assert fake_embedding_model.calls == []
        other = fake_embedding_model_factory("mine", kind="hash", dimension=3)
        assert other.encode("a").shape == (3,)
        assert fake_embedding_model_factory.load_count("mine") == 1

    def test_twins_are_one(
        fake_embedding_model,
        embedcache_fake_model,
        fake_embedding_model_factory,
        embedcache_fake_model_factory,
    ):
        assert embedcache_fake_model is fake_embedding_model
        assert embedcache_fake_model_factory is fake_embedding_model_factory

    def test_what_hangs_is_released_at_the_end(fake_embedding_model):
        import threading
        hold = fake_embedding_model.faults.hang()
        threads.append(threading.Thread(target=fake_embedding_model.encode, args=("a",)))
        threads[0].start()
        assert hold.reached.wait(120)

    def test_it_is_over(no_real_models, embedcache_no_real_models):
        threads[0].join(120)
        assert not threads[0].is_alive()

    threads = []
"""


def test_the_fixtures_give_fakes(suite: Suite) -> None:
    """Of their own for each test; nothing is loaded, said or written."""
    suite.write(test_it=FIXTURES)
    (suite.path / "pytest.ini").write_text("[pytest]\nembedcache_model = all-mpnet-base-v2\n")
    result = suite.run("-p", "no:randomly")
    complaints(result)
    assert outcome(result) == {"passed": 5}
    assert suite.noted() == []
    assert " embedcache ==" not in result.stdout.str()


MODE = """
    import os, sys
    import numpy as np
    import pytest
    from pytest_embedcache import ModelRegistry, ModelSpec, get_model
    from pytest_embedcache.fingerprint import is_fake
    from pytest_embedcache.testing.fakes import FakeEmbeddingModel
    import service

    def test_fixtures_and_code_under_test_have_one(embedding_model, embedding_model_factory):
        assert is_fake(embedding_model.fingerprint)
        assert get_model("all-MiniLM-L6-v2") is embedding_model
        assert service.early is not None and is_fake(get_model("other").fingerprint)
        assert embedding_model_factory("all-mpnet-base-v2").encode("a").shape == (768,)
        assert embedding_model.encode_query("a cat") @ embedding_model.encode("cats") > 0.2

    def test_a_registry_of_ones_own_has_fakes(model_registry):
        for registry in (model_registry, ModelRegistry()):
            assert isinstance(registry.get("m"), FakeEmbeddingModel)

    def test_what_was_made_before_the_run_has_fakes():
        row = service.early.encode("a cat")
        assert row.tobytes() == FakeEmbeddingModel("early").encode("a cat").tobytes()

    def test_vectors_are_in_memory_alone(embedding_model, vector_store):
        embedding_model.encode(["kept"])
        keys = embedding_model.keys(["kept"])
        assert vector_store.get_many(embedding_model.fingerprint, keys) == {}

    def test_a_marker_has_the_last_word(request, embedding_model_factory):
        live = embedding_model_factory("real", mode="live")
        assert not is_fake(live.fingerprint)
        assert live.encode("a").shape == (8,)
"""
SERVICE = """
    from pytest_embedcache import get_model

    early = get_model("early")
    early.encode("before the run")
"""


def test_the_mode_gives_every_test_a_fake(suite: Suite) -> None:
    """Fixtures, get_model and registries alike; of the real models one was asked for by a test."""
    suite.write(conftest="import service", service=SERVICE, test_it=MODE)
    result = suite.run("--embedcache-mode=fake", EMBEDCACHE_DIR=str(suite.path / "dir"))
    text = complaints(result)
    assert outcome(result) == {"passed": 5}
    assert "mode=fake (--embedcache-mode)" in text
    loads = [words[1] for words in suite.noted() if words[0] == "load"]
    assert sorted(set(loads)) == ["early", "real"]  # `early`, while the conftest was imported
    assert loads.count("real") == 1


DROPIN = """
    from sentence_transformers import SentenceTransformer
    from pytest_embedcache.testing.fakes import FakeEmbeddingModel

    def test_the_class_gives_fakes(embedding_model):
        model = SentenceTransformer("nobody/has-this", device="cpu")
        local = SentenceTransformer("nor-this", local_files_only=True)
        alone = FakeEmbeddingModel("nobody/has-this")
        assert model.encode(["a cat"]).tobytes() == alone.encode(["a cat"]).tobytes()
        assert model.encode_query("a").tobytes() == alone.encode_query("a").tobytes()
        assert local.encode("a").shape == (384,)
        ours = SentenceTransformer("all-MiniLM-L6-v2")
        assert ours.encode("a").tobytes() == embedding_model.encode("a").tobytes()
"""


def test_the_drop_in_gives_fakes_too(suite: Suite) -> None:
    """For any name, also where sentence-transformers is not installed."""
    suite.write(conftest="", test_it=DROPIN)
    result = suite.run("--embedcache-mode=fake", "--embedcache-dropin")
    complaints(result)
    assert outcome(result) == {"passed": 1}
    assert suite.noted() == []


GUARD = """
    import pytest
    from pytest_embedcache import get_model

    def test_loads(embedding_model):
        embedding_model.encode("a")

    def test_code_under_test_loads():
        get_model("mine").encode("a")

    def test_registry_loads(model_registry):
        model_registry.get("mine")

    def test_loads_nothing(embedding_model, fake_embedding_model):
        fake_embedding_model.encode("a")

    @pytest.mark.embedcache(no_models=False)
    def test_may(embedding_model):
        embedding_model.encode("b")

    @pytest.mark.embedcache(mode="fake")
    def test_fake(embedding_model):
        embedding_model.encode("a")
"""


def test_no_models_forbids_them_to_a_run(suite: Suite) -> None:
    """On every way: the error names the test, and what to take; a marker lets one through."""
    suite.write(conftest="", test_it=GUARD)
    result = suite.run("--embedcache-no-models")
    text = complaints(result)
    assert outcome(result) == {"passed": 3, "failed": 3}
    for name in ("test_loads", "test_code_under_test_loads", "test_registry_loads"):
        assert f"RealModelError: test_it.py::{name} loads the real model" in text
    assert "fake_embedding_model, or --embedcache-mode=fake" in text
    assert "@pytest.mark.embedcache(no_models=False)" in text
    assert [words[1] for words in suite.noted()] == ["all-MiniLM-L6-v2"]


def test_no_models_by_marker_and_by_fixture(suite: Suite) -> None:
    """For one test, whatever was loaded before; and no longer than it runs."""
    suite.write(
        conftest="",
        test_it="""
            import pytest

            def test_1(embedding_model):
                embedding_model.encode("a")

            @pytest.mark.embedcache(no_models=True)
            def test_2_marked(embedding_model):
                assert embedding_model.encode("a").shape == (8,)  # stored
                embedding_model.encode("b")

            def test_3_with_the_fixture(no_real_models, embedding_model):
                embedding_model.encode("b")

            def test_4(embedding_model):
                embedding_model.encode("b")

            @pytest.mark.embedcache(mode="fake")  # in a run that is otherwise real
            def test_fake(embedding_model, no_real_models):
                assert embedding_model.encode("a").shape == (384,)

            @pytest.mark.embedcache(no_models="yes")
            def test_5(embedding_model):
                pass
        """,
    )
    result = suite.run("-p", "no:randomly", "--deselect=test_it.py::test_5")
    assert "no_models='yes' cannot be used: use True or False" in complaints(result)
    (suite.path / "test_it.py").write_text(
        (suite.path / "test_it.py").read_text().replace('no_models="yes"', "no_models=False")
    )
    result = suite.run("-p", "no:randomly")
    text = complaints(result)
    assert outcome(result) == {"passed": 4, "failed": 2}
    assert "RealModelError: test_it.py::test_2_marked loads" in text
    assert "RealModelError: test_it.py::test_3_with_the_fixture loads" in text
