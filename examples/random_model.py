"""A model of all-mpnet-base-v2's shape with random weights, for what needs a second, wider one."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

__all__ = ["build_mpnet_shaped"]

#: What a transformer's directory has beside weights and configuration.
_TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "vocab.txt", "special_tokens_map.json")


def build_mpnet_shaped(directory: Path, tokenizer: Path, *, layers: int = 12) -> Path:
    """Write the model into `directory`, with the tokenizer of the model in `tokenizer`.

    12 layers, 12 heads, 768 dimensions, 109 million parameters, 438 MB. Its vectors mean nothing.
    """
    import torch
    from transformers import MPNetConfig, MPNetModel

    directory.mkdir(parents=True)
    torch.manual_seed(0)
    MPNetModel(MPNetConfig(num_hidden_layers=layers)).save_pretrained(directory)
    for name in _TOKENIZER:
        if (tokenizer / name).exists():
            shutil.copy(tokenizer / name, directory)
    kinds = ("Transformer", "Pooling", "Normalize")
    modules = [
        {
            "idx": index,
            "name": str(index),
            "path": f"{index}_{kind}" if index else "",
            "type": f"sentence_transformers.models.{kind}",
        }
        for index, kind in enumerate(kinds)
    ]
    files = {
        "modules.json": modules,
        "sentence_bert_config.json": {"max_seq_length": 384, "do_lower_case": False},
        "1_Pooling/config.json": {
            "word_embedding_dimension": 768,
            "pooling_mode_cls_token": False,
            "pooling_mode_mean_tokens": True,
            "pooling_mode_max_tokens": False,
            "pooling_mode_mean_sqrt_len_tokens": False,
        },
    }
    for name, content in files.items():
        (directory / name).parent.mkdir(exist_ok=True)
        (directory / name).write_text(json.dumps(content, indent=2), encoding="utf-8")
    return directory
