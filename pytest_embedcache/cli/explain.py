"""`embedcache explain`: what a model's fingerprint, and a text's key, are made of."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from pytest_embedcache.cli.options import add_directory, add_json, add_spec, spec_of, store_of
from pytest_embedcache.errors import ModelSpecError
from pytest_embedcache.fingerprint import fingerprint_of
from pytest_embedcache.snapshot import locate

if TYPE_CHECKING:
    from pytest_embedcache.spec import ModelSpec
    from pytest_embedcache.vectors.cached_model import CachedModel
    from pytest_embedcache.vectors.keys import KeyFields
    from pytest_embedcache.vectors.sqlite import SqliteStore

__all__ = ["add_command"]

#: Dimensions to which vectors are usually cut.
_CUTS = (32, 64, 128, 256, 384, 512, 768, 1024)


def add_command(commands: Any) -> None:
    """Add the command to argparse's subparsers."""
    explain = commands.add_parser(
        "explain", help="show what a model's fingerprint, or a text's key, is made of"
    )
    explain.add_argument("model", metavar="MODEL", help="a name on the Hub, or a directory")
    add_spec(explain)
    explain.add_argument("--text", help="explain the key of this text, and whether it is stored")
    explain.add_argument("--role", choices=("query", "document"), help="of the text")
    explain.add_argument("--prompt", help="before the text")
    explain.add_argument("--prompt-name", help="before the text, by its name")
    explain.add_argument("--normalize", action="store_true", help="as with normalize_embeddings")
    explain.add_argument("--truncate-dim", type=int, help="as with truncate_dim")
    add_json(explain)
    add_directory(explain)
    explain.set_defaults(run=_explain)


def _explain(options: argparse.Namespace) -> int:
    spec = spec_of(options)
    place = locate(spec)
    found = fingerprint_of(spec, cache_dir=options.dir)
    shown: dict[str, Any] = {
        "model": place.name,
        "commit": place.commit,
        "path": place.path,
        "fingerprint": found.digest,
        "source": found.source,
        "parts": [list(part) for part in found.parts],
    }
    if options.text is not None:
        shown["text"] = _text(options, spec)
    print(json.dumps(shown, indent=2) if options.json else "\n".join(_lines(shown)))
    return 0


def _lines(shown: dict[str, Any]) -> Iterator[str]:
    yield f"model        {shown['model']}"
    yield f"commit       {shown['commit'] or '-'}"
    yield f"path         {shown['path'] or '- (not on this machine)'}"
    yield f"fingerprint  {shown['fingerprint']}"
    yield f"from         {shown['source']}"
    width = max(len(label) for label, _ in shown["parts"])
    for label, content in shown["parts"]:
        yield f"  {label:<{width}}  {content[:16]}"
    if text := shown.get("text"):
        yield from _text_lines(text)


def _text_lines(text: dict[str, Any]) -> Iterator[str]:
    if text["key"] is None:
        yield "key          none: this model's vectors are of a kind that no store holds"
        return
    yield f"key          {text['key']}"
    width = max(map(len, text["fields"]))
    for name, value in text["fields"].items():
        yield f"  {name:<{width}}  {value!r}"
    yield f"stored       {'yes' if text['stored'] else 'no'}"
    for near in text["near"]:
        there = (
            f"{name} is {value!r}" + (f" ({near['label']})" if name == "fingerprint" else "")
            for name, value in near["differs"].items()
        )
        yield f"             but the same text is stored where {', '.join(there)}"


def _text(options: argparse.Namespace, spec: ModelSpec) -> dict[str, Any]:
    """The key of the text, whether it is stored, and in which fields stored keys of it differ."""
    from pytest_embedcache.models.registry import ModelRegistry
    from pytest_embedcache.vectors.cache import VectorCache
    from pytest_embedcache.vectors.cached_model import CachedModel
    from pytest_embedcache.vectors.keys import differences, explain_key

    model = CachedModel(ModelRegistry(cache_dir=options.dir), spec, VectorCache(None))
    try:
        fields = model.key_fields(
            role=options.role,
            prompt=options.prompt,
            prompt_name=options.prompt_name,
            normalize_embeddings=options.normalize,
            truncate_dim=options.truncate_dim,
        )
    except ValueError as error:  # the model has no prompt of that name
        raise ModelSpecError("prompt-name", options.prompt_name, str(error)) from error
    if fields is None:
        return {"key": None, "fields": {}, "stored": False, "near": []}
    explained = explain_key(fields, options.text)
    near = []
    store = store_of(options)
    stored = False
    if store.path.exists():  # looking makes no store
        labels = {use.fingerprint: use.label for use in store.models()}
        stored = bool(_stored(store, [fields], options.text))
        for other in _stored(store, [*_variations(fields, model, [*labels])], options.text):
            differing = differences(explained, explain_key(other, options.text))
            differs = {name: there for name, (_, there) in differing.items()}
            near.append({"label": labels.get(other.fingerprint), "differs": differs})
        store.close()
    return {"key": explained.key, "fields": explained.fields, "stored": stored, "near": near}


def _stored(store: SqliteStore, tried: list[KeyFields], text: str) -> list[KeyFields]:
    """Those under which the text is stored."""
    from pytest_embedcache.vectors.keys import KeyMaker

    found = []
    for fingerprint in dict.fromkeys(fields.fingerprint for fields in tried):
        keys = {KeyMaker(f).key(text): f for f in tried if f.fingerprint == fingerprint}
        there = store.get_many(fingerprint, list(keys))
        found += [fields for key, fields in keys.items() if key in there]
    return found


def _variations(
    fields: KeyFields, model: CachedModel, fingerprints: list[str]
) -> Iterator[KeyFields]:
    """Other keys under which the text may lie; a digest cannot be read back, so these are tried:
    every mixture of model, role, prompt, normalisation and usual dimensions.
    """
    prompts = dict.fromkeys([fields.prompt, None, "", *model.prompts.values()])
    cuts = dict.fromkeys([fields.options.get("truncate_dim"), None, *_CUTS])
    others = {k: v for k, v in fields.options.items() if k not in ("normalize", "truncate_dim")}
    for fingerprint in dict.fromkeys([fields.fingerprint, *fingerprints]):
        for role in (None, "query", "document"):
            for prompt in prompts:
                for options in _options(others, cuts):
                    found = fields._replace(
                        fingerprint=fingerprint, role=role, prompt=prompt, options=options
                    )
                    if found != fields:
                        yield found


def _options(others: dict[str, Any], cuts: dict[int | None, None]) -> Iterator[dict[str, Any]]:
    for cut in cuts:
        for normalize in ({}, {"normalize": True}):
            yield others | normalize | ({} if cut is None else {"truncate_dim": cut})
