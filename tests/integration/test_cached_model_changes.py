"""What is done to a model in one process, read from another: a right vector, or none."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from support.elsewhere import KNOWN, NEW, check, own_process, read_elsewhere, truth, with_prompts

from pytest_embedcache import default_registry, get_model
from pytest_embedcache.vectors.cached_model import CachedModel

torch = pytest.importorskip("torch", reason="needs torch")
pytest.importorskip("sentence_transformers", reason="needs sentence-transformers")


@pytest.fixture(autouse=True)
def _own_process() -> Iterator[None]:
    with own_process():
        yield


@pytest.fixture
def path(tiny: Path) -> Path:
    """A model with prompts that the test may change."""
    return with_prompts(tiny)


def change_weights(model: CachedModel) -> None:
    with torch.no_grad():
        next(model[0].auto_model.parameters()).add_(1.0)


def change_weights_through_parameters(model: CachedModel) -> None:
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(0.5)


def halve(model: CachedModel) -> None:
    model.half()


def load_state(model: CachedModel) -> None:
    model.load_state_dict({k: v * 2 for k, v in model.state_dict().items()})


def replace_tokenizer(model: CachedModel) -> None:
    model.tokenizer.add_tokens(["kitten", "revenue"])
    model[0].auto_model.resize_token_embeddings(len(model.tokenizer))


def change_length(model: CachedModel) -> None:
    model.max_seq_length = 4


def change_prompts(model: CachedModel) -> None:
    model.prompts["query"] = "revenue "


def change_default_prompt(model: CachedModel) -> None:
    model.default_prompt_name = "sts"


def change_dimension(model: CachedModel) -> None:
    model.truncate_dim = 5


def unwrap(model: CachedModel) -> None:
    change_weights(model.unwrap())


def change_a_copy(model: CachedModel) -> None:
    change_weights(model.unwrap(copy=True))


def change_a_deep_copy(model: CachedModel) -> None:
    change_weights(copy.deepcopy(model))


def change_the_registrys(model: CachedModel) -> None:
    change_weights(default_registry().get(model.spec))


def set_a_module(model: CachedModel) -> None:
    model.pooling = torch.nn.Identity()
    model[1].forward = lambda features: (
        features | {"sentence_embedding": features["token_embeddings"][:, -1]}
    )


def add_an_adapter(model: CachedModel) -> None:
    """As peft does, seen from transformers' side, but on the bare model."""
    inner = model._source.load().model[0].auto_model
    inner._hf_peft_config_loaded = True
    inner.active_adapters = lambda: ["mine"]
    with torch.no_grad():
        next(inner.parameters()).add_(1.0)


CHANGES = [
    change_weights,
    change_weights_through_parameters,
    halve,
    load_state,
    replace_tokenizer,
    change_length,
    change_prompts,
    change_default_prompt,
    change_dimension,
    unwrap,
    change_a_copy,
    change_a_deep_copy,
    change_the_registrys,
    set_a_module,
    add_an_adapter,
]


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_in_one_process_is_no_vector_of_another(
    change: Callable[[CachedModel], None], path: Path
) -> None:
    """What was stored before stays right; of what was computed after, nothing wrong is found."""
    right = truth(path, KNOWN + NEW)
    model = get_model(path)
    for encode in (model.encode, model.encode_query):
        encode(KNOWN)
    change(model)
    for encode in (model.encode, model.encode_query):
        encode(KNOWN + NEW)
    check(read_elsewhere(path, KNOWN + NEW), right, KNOWN)


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_model_gives_the_vectors_of_what_it_is_now(
    change: Callable[[CachedModel], None], path: Path
) -> None:
    """Never those that were stored before: each call equals the bare model's."""
    model = get_model(path)
    model.encode(KNOWN)
    change(model)
    inner = model._source.load().model
    for _ in range(2):
        expected = inner.encode(KNOWN + NEW)
        found = model.encode(KNOWN + NEW)
        assert found.dtype == expected.dtype
        assert found.shape == expected.shape
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-3 if change is halve else 1e-6)


def test_what_a_block_of_autocast_computes_is_read_in_such_a_block_alone(path: Path) -> None:
    """It gives float32 too, so that nothing but the block tells it from the model's own vectors."""
    right = truth(path, KNOWN + NEW)
    model = get_model(path)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        model.encode("the model is loaded within")
        rough = model._source.load().model.encode(KNOWN + NEW)
        for _ in range(2):
            np.testing.assert_array_equal(model.encode(KNOWN + NEW), rough)
    with torch.autocast("cpu", dtype=torch.float16):
        assert np.abs(model.encode(KNOWN) - rough[: len(KNOWN)]).max() > 1e-5
    sharp = np.stack([right[text] for text in KNOWN])
    assert np.abs(rough[: len(KNOWN)] - sharp).max() > 1e-5
    np.testing.assert_allclose(model.encode(KNOWN), sharp, rtol=0, atol=1e-6)
    model.encode_query(KNOWN)
    assert not model._source.load().handed_out
    check(read_elsewhere(path, KNOWN + NEW), right, KNOWN)
