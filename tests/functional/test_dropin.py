"""`--embedcache-dropin` in a suite that nobody edits, on a library that needs no torch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from support.models import tiny_bert
from support.suites import Suite, complaints, outcome
from support.toy_st import with_toy_st

#: A suite as people write it; every test looks for the right vectors.
PLAIN = """
    import numpy as np
    import pytest
    from sentence_transformers import SentenceTransformer
    from support.light import vector_of

    @pytest.fixture(scope="session")
    def model():
        return SentenceTransformer("model", device="cpu")

    @pytest.mark.parametrize("number", range(4))
    def test_vectors(model, number):
        texts = [f"a cat {number}", f"a dog {number}"]
        rows = model.encode(texts)
        np.testing.assert_array_equal(rows, [vector_of("model", text) for text in texts])
        assert isinstance(model, SentenceTransformer)
"""


@pytest.fixture
def toy(real_suite: Suite) -> Suite:
    """A suite with the toy library, and a model beside it."""
    with_toy_st(real_suite)
    tiny_bert(real_suite.path / "model")
    real_suite.write(test_plain=PLAIN)
    return real_suite


def run(suite: Suite, *arguments: str, passed: int, **environment: str) -> list[str]:
    """Run it with the drop-in; returns what was noted."""
    log = suite.path / "noted"
    log.unlink(missing_ok=True)
    result = suite.run("--embedcache-dropin", *arguments, LIGHT_LOG=str(log), **environment)
    text = complaints(result)
    assert outcome(result) == {"passed": passed}, text
    return log.read_text().splitlines()


def test_a_plain_suite_is_computed_once(toy: Suite) -> None:
    """Cold: one load in each process. Warm, and on workers: the library is never imported."""
    noted = run(toy, passed=4)
    assert noted.count("load") == noted.count("import sentence_transformers") == 1
    assert len([line for line in noted if line.startswith("text")]) == 8
    assert run(toy, passed=4) == ["conftest"]
    assert run(toy, "-n", "2", passed=4) == ["conftest"] * 3


def test_the_summary_counts_it(toy: Suite) -> None:
    """As for a fixture's model."""
    found = toy.counts("--embedcache-dropin")
    assert found["totals"]["asked"] == found["totals"]["computed"] == 8
    assert found["totals"]["loads"] == 1
    assert toy.counts("--embedcache-dropin", "-n", "2")["totals"]["found"] == 8


def test_live_computes_everything(toy: Suite) -> None:
    """And stores nothing."""
    run(toy, "--embedcache-mode=live", passed=4)
    assert run(toy, "--embedcache-mode=live", passed=4).count("load") == 1


def test_models_of_one_name_are_two_to_their_users(toy: Suite) -> None:
    """A change of one is its own: not the other's, not the next test's, not the store's."""
    toy.write(
        test_plain="""
            import copy
            import numpy as np
            import pytest
            from sentence_transformers import SentenceTransformer
            from support.light import vector_of

            RIGHT = vector_of("model", "a cat")

            CHANGES = {
                "fit": lambda model: model.fit(),
                "tokenizer": lambda model: model.tokenizer.append("more"),
                "attribute": lambda model: setattr(model, "bias", 2.0),
                "length": lambda model: setattr(model, "max_seq_length", 8),
            }

            @pytest.mark.parametrize("change", CHANGES)
            def test_change(change):
                one, other = SentenceTransformer("model"), SentenceTransformer("model")
                assert one is not other
                CHANGES[change](one)
                moved = one.encode("a cat") - RIGHT
                assert np.allclose(moved, {"fit": 1.0, "attribute": 2.0}.get(change, 0.0))
                for model in (other, copy.deepcopy(other), SentenceTransformer("model")):
                    np.testing.assert_array_equal(model.encode("a cat"), RIGHT)
                    assert model.tokenizer == ["a tokenizer"]
                    assert model.max_seq_length == 32
        """
    )
    for arguments in ((), ("-n", "2"), ("-p", "no:randomly")):
        run(toy, *arguments, passed=4)


def test_a_model_that_a_fixture_changed_is_not_handed_out(toy: Suite) -> None:
    """The registry's own model is of no use to the drop-in then; one more load, and no leak."""
    toy.write(
        test_plain="""
            import numpy as np
            from sentence_transformers import SentenceTransformer
            from support.light import vector_of

            def test_it(embedding_model_factory):
                early = SentenceTransformer("model")
                shared = embedding_model_factory("model", device=None)
                shared.unwrap().bias = 5.0
                for model in (early, SentenceTransformer("model")):
                    for text in ("new one", "another"):
                        np.testing.assert_array_equal(model.encode(text), vector_of("model", text))
        """
    )
    assert run(toy, passed=1).count("load") == 2


def test_a_directory_that_is_written_again_is_another_model(toy: Suite) -> None:
    """Nothing of the first is handed out for the second, loaded or not."""
    toy.write(
        test_plain="""
            import shutil
            import numpy as np
            from sentence_transformers import SentenceTransformer
            from support.light import vector_of

            def test_it(tmp_path):
                for loaded in (True, False, True):
                    shutil.copytree("model", tmp_path / "m", dirs_exist_ok=True)
                    weights = tmp_path / "m" / "model.safetensors"
                    for flip in range(2):
                        if flip:
                            content = bytearray(weights.read_bytes())
                            content[-3] ^= 1
                            weights.write_bytes(bytes(content))
                        model = SentenceTransformer(str(tmp_path / "m"))
                        if loaded:
                            right = vector_of(tmp_path / "m", "a cat")
                            np.testing.assert_array_equal(model.encode("a cat"), right)
        """
    )
    run(toy, passed=1)


def test_what_is_not_for_the_store_is_the_real_class_own(toy: Suite) -> None:
    """Modules, options of the model, a wrong name, a subclass, no arguments at all."""
    toy.write(
        test_plain="""
            import pytest
            import sentence_transformers
            from sentence_transformers import SentenceTransformer
            from sentence_transformers.sentence_transformer.model import SentenceTransformer as Real

            def test_modules():
                assert type(SentenceTransformer(modules=["model"])).__module__.endswith("model")

            def test_options():
                model = SentenceTransformer("model", model_kwargs={"attn_implementation": "eager"})
                assert type(model) is not SentenceTransformer
                assert isinstance(model, SentenceTransformer)

            def test_a_wrong_name():
                with pytest.raises(OSError, match="there is no models/nothing"):
                    SentenceTransformer("models/nothing")

            def test_subclass():
                class Mine(SentenceTransformer):
                    def encode(self, *args, **options):
                        return "mine"
                model = Mine("model")
                assert model.encode("a cat") == "mine"
                assert isinstance(model, Mine) and isinstance(model, SentenceTransformer)
                assert issubclass(Mine, SentenceTransformer)
                assert SentenceTransformer not in Mine.__mro__

            def test_the_class_has_what_the_real_one_has():
                assert SentenceTransformer.default_name == "of the class"

            def test_the_real_class_gives_ours_too():
                import sentence_transformers.sentence_transformer.model as module
                sentence_transformers.cos_sim
                assert module.SentenceTransformer is not SentenceTransformer
                assert type(module.SentenceTransformer("model")) is SentenceTransformer
                assert sentence_transformers.seen_by_itself is module.SentenceTransformer
        """
    )
    run(toy, passed=6)


def test_the_marker_switches_it_off(toy: Suite) -> None:
    """For what is made in that test."""
    toy.write(
        test_plain="""
            import pytest
            from sentence_transformers import SentenceTransformer

            @pytest.mark.embedcache(dropin=False)
            def test_off():
                model = SentenceTransformer("model")
                assert type(model) is not SentenceTransformer
                model.encode("a cat")

            def test_on():
                assert type(SentenceTransformer("model")) is SentenceTransformer
        """
    )
    noted = run(toy, passed=2)
    assert "real model" in noted
    assert "load" not in noted


def test_models_that_a_conftest_makes_obey_the_settings(toy: Suite) -> None:
    """They are looked up when they are used, which is after the run has begun."""
    with (toy.path / "conftest.py").open("a") as conftest:
        conftest.write(
            "\nfrom sentence_transformers import SentenceTransformer\n"
            "made = SentenceTransformer('model')\n"
            "import pytest\n\n"
            "@pytest.fixture\ndef model():\n    return made\n"
        )
    toy.write(
        test_plain="""
            import numpy as np
            from support.light import vector_of

            def test_it(model):
                np.testing.assert_array_equal(model.encode("a cat"), vector_of("model", "a cat"))
        """
    )
    run(toy, "--embedcache-mode=record", passed=1)
    assert len(list((toy.path / "tests" / "embeddings").glob("*/??/*.json"))) == 1
    run(toy, passed=1)


def test_what_is_recorded_replays_without_the_library(toy: Suite) -> None:
    """Neither library nor weights are there; `importorskip` imports it, and finds no more of it
    than the class. What only the model can do is an error by name; a test is exempt by a marker."""
    run(toy, "--embedcache-mode=record", passed=4)
    (toy.path / "sentence_transformers").rename(toy.path / "gone")
    for name in ("model.safetensors", "config.json"):
        (toy.path / "model" / name).rename(toy.path / f"gone-{name}")
    hide = "import sys\nfrom importlib.machinery import PathFinder\n"
    (toy.path / "hide.py").write_text(
        hide + "find = PathFinder.find_spec\n"
        "def find_spec(name, path=None, target=None):\n"
        "    if name in ('sentence_transformers', 'torch', 'transformers'):\n"
        "        return None\n"
        "    return find(name, path, target)\n"
        "PathFinder.find_spec = find_spec\n"
    )
    toy.write(
        test_plain="""
            import sys
            import pytest
            from pytest_embedcache.errors import ReplayMissError, ReplayModelError

            sentence_transformers = pytest.importorskip("sentence_transformers")
            SentenceTransformer = sentence_transformers.SentenceTransformer

            def test_recorded():
                model = SentenceTransformer("model")
                assert model.encode(["a cat 1", "a dog 3"]).shape == (2, 16)
                assert model.get_embedding_dimension() == 16
                assert "torch" not in sys.modules

            def test_not_recorded():
                with pytest.raises(ReplayMissError):
                    SentenceTransformer("model").encode("something else")
                # and fails for it at the end, though the error was caught

            def test_needs_the_model():
                with pytest.raises(ReplayModelError, match="tokenizer"):
                    SentenceTransformer("model").tokenizer
                with pytest.raises(ReplayModelError, match="backend"):
                    SentenceTransformer("model", backend="onnx")

            def test_the_rest_of_the_library():
                with pytest.raises(ImportError, match="sentence-transformers"):
                    from sentence_transformers import util
        """
    )
    result = toy.run("-p", "hide", "--embedcache-dropin", "--embedcache-mode=replay")
    text = complaints(result)
    assert outcome(result) == {"passed": 3, "failed": 1}, text
    result.stdout.fnmatch_lines(["*FAILED test_plain.py::test_not_recorded - *ReplayMiss*"])
    assert "not recorded" in text  # of the summary: a swallowed miss is none the less one

    skipped = toy.run("-p", "hide", "--embedcache-dropin")
    assert outcome(skipped) == {"skipped": 1}, complaints(skipped)


def test_a_fake_takes_the_place_of_the_stand_in(toy: Suite) -> None:
    """And the stand-in is back after the test; the library is imported for neither."""
    toy.write(
        test_plain="""
            from sentence_transformers import SentenceTransformer

            Stand_in = SentenceTransformer

            def test_fake(fake_sentence_transformer):
                SentenceTransformer("anything").encode("a cat")
                assert fake_sentence_transformer.load_count("anything") == 1

            def test_after():
                import sentence_transformers
                assert SentenceTransformer is Stand_in is sentence_transformers.SentenceTransformer
                SentenceTransformer("model")
        """
    )
    assert run(toy, "-p", "no:randomly", passed=2) == ["conftest"]


def test_a_run_in_the_same_process_leaves_nothing(toy: Suite, tmp_path: Path) -> None:
    """Neither a finder nor a module, and the real class as it was, imported before or not."""
    (toy.path / "twice.py").write_text(
        f"import sys; sys.path.insert(0, {str(toy.path)!r})\n"
        f"sys.path.insert(0, {str(Path(__file__).parents[1])!r})\n"
        "import pytest, os\n"
        "arguments = ['-q', '-p', 'embedcache', '-p', 'no:cacheprovider']\n"
        "def state():\n"
        "    return list(sys.meta_path), 'sentence_transformers' in sys.modules\n"
        "before = state()\n"
        "assert pytest.main([*arguments, '--embedcache-dropin', 'test_plain.py']) == 0\n"
        "if len(sys.argv) > 1:\n"
        "    assert state() == before, state()\n"
        "import sentence_transformers as st\n"
        "init = st.SentenceTransformer.__init__\n"
        "assert st.SentenceTransformer.__module__.endswith('.model')\n"
        "assert type(st.SentenceTransformer('model')) is st.SentenceTransformer\n"
        "assert pytest.main([*arguments, '--embedcache-dropin', 'test_plain.py']) == 0\n"
        "assert st.SentenceTransformer.__init__ is init\n"
        "assert type(st.SentenceTransformer('model')) is st.SentenceTransformer\n"
        "assert st.seen_by_itself is st.SentenceTransformer\n"
        "print('as before')\n"
    )
    for arguments in ((), ("warm",)):
        ran = subprocess.run(
            [sys.executable, "twice.py", *arguments],
            cwd=toy.path,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert "as before" in ran.stdout, ran.stdout + ran.stderr


def test_no_real_model_is_loaded_where_that_is_forbidden(toy: Suite) -> None:
    """What is stored is found; a load, and a real model of the class itself, are errors."""
    run(toy, passed=4)
    toy.write(
        test_plain="""
            import pytest
            from pytest_embedcache.errors import RealModelError
            from sentence_transformers import SentenceTransformer

            def test_it():
                model = SentenceTransformer("model")
                assert model.encode("a cat 1").shape == (16,)
                for load in (
                    lambda: model.encode("a new text"),
                    lambda: model.tokenizer,
                    lambda: SentenceTransformer("model", model_kwargs={"a": 1}),
                ):
                    with pytest.raises(RealModelError):
                        load()
        """
    )
    assert "load" not in run(toy, "--embedcache-no-models", passed=1)


def test_in_mode_fake_it_is_a_fake(toy: Suite) -> None:
    """Of any name; nothing is loaded or imported."""
    toy.write(
        test_plain="""
            from sentence_transformers import SentenceTransformer

            def test_it():
                model = SentenceTransformer("all-MiniLM-L6-v2")
                assert model.encode(["a cat", "a dog"]).shape == (2, 384)
                assert isinstance(model, SentenceTransformer)
        """
    )
    assert run(toy, "--embedcache-mode=fake", passed=1) == ["conftest"]
