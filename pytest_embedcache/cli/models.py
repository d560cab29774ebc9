"""`embedcache models`: what is prepared on this machine; preparing, and removing it."""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from pytest_embedcache.cli.options import add_directory, add_json
from pytest_embedcache.cli.stats import size
from pytest_embedcache.errors import ModelNotFoundError
from pytest_embedcache.spec import FORMS, ModelSpec

if TYPE_CHECKING:
    from pytest_embedcache.models.artifacts import ArtifactStore
    from pytest_embedcache.models.prepared import Prepared

__all__ = ["add_command"]

#: What `quantized` means: of the small forms the one that agrees best.
_QUANTIZED = "int8"


def add_command(commands: Any) -> None:
    """Add the command, with its own commands, to argparse's subparsers."""
    models = commands.add_parser("models", help="list, prepare or remove models without torch")
    add_json(models)
    add_directory(models)
    models.set_defaults(run=_list)
    own = models.add_subparsers(metavar="COMMAND")

    prepare = own.add_parser("prepare", help="make the form of a model that loads without torch")
    prepare.add_argument("model", metavar="MODEL", help="a name, short or full, or a directory")
    _add_forms(prepare)
    prepare.add_argument("--revision", help="branch, tag or commit (default: main)")
    prepare.add_argument("--trust-remote-code", action="store_true", help="let its own code run")
    add_directory(prepare)
    prepare.set_defaults(run=_prepare)

    remove = own.add_parser("remove", help="remove what was prepared of a model")
    remove.add_argument("model", metavar="MODEL", help="a name, short or full, or a directory")
    _add_forms(remove)
    add_directory(remove)
    remove.set_defaults(run=_remove)


def _add_forms(parser: argparse.ArgumentParser) -> None:
    group = parser.add_mutually_exclusive_group()
    group.add_argument("--form", choices=FORMS["onnx"], help="which form")
    group.add_argument(
        "--quantized",
        dest="form",
        action="store_const",
        const=_QUANTIZED,
        help=f"the small form: {_QUANTIZED}",
    )


def _artifacts(options: argparse.Namespace) -> ArtifactStore:
    from pytest_embedcache.models.artifacts import ArtifactStore

    return ArtifactStore(options.dir)


def _list(options: argparse.Namespace) -> int:
    from pytest_embedcache.models.prepared import prepared_models

    found = prepared_models(_artifacts(options))
    if options.json:
        print(json.dumps({"models": [asdict(one) for one in found]}, indent=2))
    elif not found:
        print("nothing is prepared")
    for one in found if not options.json else ():
        print(_line(one))
    return 0


def _line(one: Prepared) -> str:
    made = time.strftime("%Y-%m-%d %H:%M", time.localtime(one.made))
    if one.refused is not None:
        return f"{one.name}  {one.form}  refused {made}: {one.refused}"
    return f"{one.name}  {one.form}  {size(one.bytes)}  {made}  {_measured(one)}"


def _measured(one: Prepared) -> str:
    told = one.details
    if "difference" in told:
        return f"as torch, to {told['difference']:.1g} on {told['texts']} texts"
    if "cosine_worst" in told:
        return (
            f"cosine {told['cosine_mean']:.4f}, at worst {told['cosine_worst']:.4f}, nearest "
            f"neighbour kept {told['same_nearest']:.1%} on {told['texts']} texts"
        )
    return "not compared with torch"


def _prepare(options: argparse.Namespace) -> int:
    from pytest_embedcache.models.backends.onnx import OnnxBackend
    from pytest_embedcache.models.prepared import prepared_models

    spec = ModelSpec(
        options.model,
        revision=options.revision,
        backend="onnx",
        form=options.form or "float32",
        trust_remote_code=options.trust_remote_code,
    )
    artifacts = _artifacts(options)
    start = time.monotonic()

    def stage(what: str) -> None:
        elapsed = time.monotonic() - start
        print(f"{elapsed:6.1f} s  {what}", file=sys.stderr, flush=True)

    resolved = OnnxBackend(stage=stage).prepare(spec, artifacts)
    fingerprint = resolved.fingerprint()
    for one in prepared_models(artifacts):
        if (one.form, one.fingerprint) == (resolved.form, fingerprint):
            print(_line(one))
    return 0


def _remove(options: argparse.Namespace) -> int:
    from pytest_embedcache.models.prepared import prepared_models, remove_prepared

    artifacts = _artifacts(options)
    removed = remove_prepared(artifacts, options.model, options.form)
    if not removed:
        known = ", ".join(dict.fromkeys(one.name for one in prepared_models(artifacts)))
        what = "nothing" if options.form is None else f"no form {options.form}"
        raise ModelNotFoundError(
            options.model, f"{what} of it is prepared", f"Prepared is: {known or 'nothing'}."
        )
    for one in removed:
        print(f"removed {one.name}  {one.form}  {size(one.bytes)}")
    return 0
