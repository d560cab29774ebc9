"""Small models of many families with random weights, as sentence-transformers saves them."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

WORDS = ["a", "cat", "kitten", "dog", "revenue", "the", "of", "and", "query", "passage", ":", "."]
LETTERS = [*"abcdefghijklmnopqrstuvwxyz0123456789", *(f"##{c}" for c in "abcdefghij0123456789")]
#: Flags of a pooling's configuration, in the order in which their vectors are joined.
EVERY_POOLING = (
    *("cls_token", "max_tokens", "mean_tokens", "mean_sqrt_len_tokens"),
    *("weightedmean_tokens", "lasttoken"),
)
_MODULES = "sentence_transformers.models"
_SIZES = {
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 80,
    # Large enough for every token to count.
    "initializer_range": 0.5,
}


def tokenizer(path: Path, *, pad_first: bool = True, baked: bool = True) -> int:
    """Write a tokenizer of a few words; returns how many.

    Its file has truncation and padding baked in, both of which transformers overrules. Without
    `pad_first` the pad token is 1, as RoBERTa's and MPNet's is.
    """
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    special = ["[PAD]", "[CLS]"] if pad_first else ["[CLS]", "[PAD]"]
    vocabulary = {w: i for i, w in enumerate([*special, "[SEP]", "[UNK]", "[MASK]", *WORDS])}
    for letter in LETTERS:
        vocabulary.setdefault(letter, len(vocabulary))
    made = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer()
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    ends = [(token, vocabulary[token]) for token in ("[CLS]", "[SEP]")]
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=ends
    )
    made.add_special_tokens([*special, "[SEP]", "[UNK]", "[MASK]"])
    if baked:
        made.enable_truncation(5)
        made.enable_padding(length=12, pad_id=vocabulary["[PAD]"], pad_token="[PAD]")
    path.mkdir(parents=True, exist_ok=True)
    made.save(str(path / "tokenizer.json"))
    return len(vocabulary)


def transformer(
    path: Path,
    kind: str = "bert",
    *,
    poolings: tuple[str, ...] = ("mean_tokens",),
    include_prompt: bool = True,
    padding_side: str = "right",
    normalize: bool = False,
    dense: bool = False,
    **told: Any,
) -> Path:
    """Write a transformer with what comes after it; `told` is what the model says of itself."""
    import torch
    import transformers

    pad_first = kind not in ("roberta", "mpnet")
    size = tokenizer(path, pad_first=pad_first)
    sizes = dict(_SIZES, vocab_size=size, pad_token_id=0 if pad_first else 1)
    if kind == "distilbert":
        sizes |= {"dim": 16, "n_layers": 1, "n_heads": 2, "hidden_dim": 32}
    if kind == "modernbert":
        sizes["num_hidden_layers"] = 2  # one that sees all tokens, and one that sees near ones
        sizes |= {"cls_token_id": 1, "sep_token_id": 2, "bos_token_id": 1, "eos_token_id": 2}
    if kind == "qwen3":
        sizes |= {"num_key_value_heads": 1, "head_dim": 8}
    config = transformers.AutoConfig.for_model(kind, **sizes)
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        transformers.AutoModel.from_config(config).save_pretrained(path)
    names = {"pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    names |= {"unk_token": "[UNK]", "mask_token": "[MASK]", "padding_side": padding_side}
    # Of a class that every version knows, and that takes all from tokenizer.json.
    names |= {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 60}
    modules = ["Transformer", "Pooling"]
    pooling: dict[str, Any] = {f"pooling_mode_{name}": name in poolings for name in EVERY_POOLING}
    pooling |= {"word_embedding_dimension": 16, "include_prompt": include_prompt}
    files: dict[str, Any] = {
        "tokenizer_config.json": names,
        "sentence_bert_config.json": {"max_seq_length": 24, "do_lower_case": False},
        "config_sentence_transformers.json": told,
        "1_Pooling/config.json": pooling,
    }
    if dense:
        modules.append("Dense")
        files["2_Dense/config.json"] = {
            "in_features": 16 * len(poolings),
            "out_features": 24,
            "bias": True,
            "activation_function": "torch.nn.modules.activation.Tanh",
        }
        _dense(path / "2_Dense", 16 * len(poolings))
    if normalize:
        modules.append("Normalize")
    files["modules.json"] = [
        {
            "idx": place,
            "name": str(place),
            "path": f"{place}_{name}" if place else "",
            "type": f"{_MODULES}.{name}",
        }
        for place, name in enumerate(modules)
    ]
    for name, content in files.items():
        (path / name).parent.mkdir(exist_ok=True)
        (path / name).write_text(json.dumps(content))
    return path


def _dense(folder: Path, width: int) -> None:
    import torch
    from safetensors.torch import save_file

    folder.mkdir()
    tensors = {"linear.weight": torch.randn(24, width), "linear.bias": torch.randn(24)}
    save_file(tensors, folder / "model.safetensors")


def static(path: Path) -> Path:
    """Write a StaticEmbedding, whose tokenizer cuts texts by itself."""
    import torch
    from safetensors.torch import save_file

    size = tokenizer(path)
    torch.manual_seed(0)
    save_file({"embedding.weight": torch.randn(size, 16)}, path / "model.safetensors")
    module = {"idx": 0, "name": "0", "path": "", "type": f"{_MODULES}.StaticEmbedding"}
    (path / "modules.json").write_text(json.dumps([module]))
    return path


FAMILIES: dict[str, Callable[[Path], Path]] = {
    "MPNet, every pooling": lambda p: transformer(
        p, "mpnet", poolings=EVERY_POOLING, truncate_dim=90, normalize=True
    ),
    "DistilBERT, prompts left out of pooling, and a Dense layer": lambda p: transformer(
        p,
        "distilbert",
        dense=True,
        include_prompt=False,
        prompts={"query": "query : ", "passage": "passage of the : "},
        default_prompt_name="query",
    ),
    "RoBERTa": lambda p: transformer(p, "roberta", poolings=("cls_token",)),
    "ModernBERT": lambda p: transformer(p, "modernbert", normalize=True),
    "Qwen3, padded on the left": lambda p: transformer(
        p, "qwen3", padding_side="left", poolings=("lasttoken",), normalize=True
    ),
    "StaticEmbedding": static,
}
