"""`embedcache explain`: what a model's fingerprint, and a text's key, are made of."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from pytest_embedcache.fingerprint import fingerprint_of
from pytest_embedcache.snapshot import locate
from pytest_embedcache.spec import ModelSpec

if TYPE_CHECKING:
    from pytest_embedcache.vectors.keys import KeyFields
    from pytest_embedcache.vectors.sqlite import SqliteStore

__all__ = ["add_command"]


def add_command(commands: Any) -> None:
    """Add the command to argparse's subparsers."""
    explain = commands.add_parser(
        "explain", help="show what a model's fingerprint, or a text's key, is made of"
    )
    explain.add_argument("model", metavar="MODEL", help="a name on the Hub, or a directory")
    explain.add_argument("--revision", help="branch, tag or commit (default: main)")
    explain.add_argument("--dtype", help="as if it were loaded in this dtype")
    explain.add_argument("--trust-remote-code", action="store_true", help="as if its code ran")
    explain.add_argument("--text", help="explain the key of this text, and whether it is stored")
    explain.add_argument("--role", choices=("query", "document"), help="of the text")
    explain.add_argument("--prompt", help="before the text")
    explain.add_argument("--normalize", action="store_true", help="as with normalize_embeddings")
    explain.add_argument("--truncate-dim", type=int, help="as with truncate_dim")
    explain.add_argument("--json", action="store_true", help="print JSON")
    explain.set_defaults(run=_explain)


def _explain(options: argparse.Namespace) -> int:
    spec = ModelSpec(
        options.model,
        revision=options.revision,
        dtype=options.dtype,
        trust_remote_code=options.trust_remote_code,
    )
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
        yield f"key          {text['key']}"
        width = max(map(len, text["fields"]))
        for name, value in text["fields"].items():
            yield f"  {name:<{width}}  {value!r}"
        yield f"stored       {'yes' if text['stored'] else 'no'}"
        for near in text["near"]:
            differs = ", ".join(f"{name} is {value!r}" for name, value in near.items())
            yield f"             but the same text is stored where {differs}"


def _text(options: argparse.Namespace, spec: ModelSpec) -> dict[str, Any]:
    """The key of the text, whether it is stored, and in which fields stored keys of it differ."""
    from pytest_embedcache.models.registry import ModelRegistry
    from pytest_embedcache.vectors.cache import VectorCache
    from pytest_embedcache.vectors.cached_model import CachedModel
    from pytest_embedcache.vectors.keys import KeyMaker, differences, explain_key
    from pytest_embedcache.vectors.sqlite import SqliteStore

    model = CachedModel(
        ModelRegistry(cache_dir=options.dir), spec.replace(device="cpu"), VectorCache(None)
    )
    fields = model.key_fields(
        role=options.role,
        prompt=options.prompt,
        normalize_embeddings=options.normalize,
        truncate_dim=options.truncate_dim,
    )
    explained = explain_key(fields, options.text)
    store = SqliteStore(options.dir)
    near = []
    stored = False
    if store.path.exists():
        stored = _has(store, fields, options.text)
        for other in _variations(fields, model, store):
            if _has(store, other, options.text):
                differing = differences(explained, explain_key(other, options.text))
                near.append({name: there for name, (_, there) in differing.items()})
    store.close()
    key = KeyMaker(fields).key(options.text).hex()
    return {"key": key, "fields": explained.fields, "stored": stored, "near": near}


def _has(store: SqliteStore, fields: KeyFields, text: str) -> bool:
    from pytest_embedcache.vectors.keys import KeyMaker

    key = KeyMaker(fields).key(text)
    return key in store.get_many(fields.fingerprint, [key])


def _variations(fields: KeyFields, model: Any, store: SqliteStore) -> Iterator[KeyFields]:
    """Other keys under which the text may lie: each field changed, alone and with the role's
    prompt. A digest cannot be read back, so these are tried.
    """
    from dataclasses import replace

    prompts = [None, "", *model.prompts.values()]
    fingerprints = [use.fingerprint for use in store.models()]
    tried = {_frozen(fields)}
    for fingerprint in dict.fromkeys([fields.fingerprint, *fingerprints]):
        for role in (None, "query", "document"):
            for prompt in dict.fromkeys([fields.prompt, *prompts]):
                for normalize in (True, False):
                    options = {k: v for k, v in fields.options.items() if k != "normalize"}
                    if normalize:
                        options["normalize"] = True
                    found = replace(
                        fields, fingerprint=fingerprint, role=role, prompt=prompt, options=options
                    )
                    if _frozen(found) not in tried:
                        tried.add(_frozen(found))
                        yield found


def _frozen(fields: KeyFields) -> tuple[Any, ...]:
    return (fields.fingerprint, fields.role, fields.prompt, tuple(sorted(fields.options.items())))
