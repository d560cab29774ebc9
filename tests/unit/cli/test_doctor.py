"""`embedcache doctor`: each trouble is found, named, and has a remedy; a healthy place has none."""

from __future__ import annotations

import multiprocessing
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.children import python
from support.command import Command

from pytest_embedcache.cli import checks
from pytest_embedcache.cli.checks import Finding, Patient
from pytest_embedcache.models.accelerators import Accelerator
from pytest_embedcache.models.disks import Disk
from pytest_embedcache.models.profile import ResourceProfile
from pytest_embedcache.vectors.sqlite import SqliteStore

GIB = 2**30
HEALTHY = ResourceProfile(
    cores=2,
    memory_free=8 * GIB,
    accelerators=(),
    disk=Disk("ssd", "ext4", "for the test"),
    torch="2.13.0",
)
posix = pytest.mark.skipif(os.name != "posix", reason="modes are POSIX's")


@pytest.fixture
def patient(tiny: Path, cache_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Patient:
    """All is well: the model is here, everything is installed, and the cores are as they seem."""
    monkeypatch.setattr(checks, "is_installed", lambda package: True)
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    monkeypatch.chdir(cache_dir.parent)
    return Patient(cache_dir / "v1", str(tiny), HEALTHY)


def troubles(patient: Patient) -> list[Finding]:
    found = [finding for check in checks.CHECKS for finding in check(patient)]
    assert all(finding.level in ("broken", "slow", "note", "ok") for finding in found)
    return [finding for finding in found if finding.level not in ("ok", "note")]


def only(found: list[Finding]) -> tuple[str, str]:
    """Level and topic of the one finding, which says what to do."""
    assert [finding.remedy is not None for finding in found] == [True], found
    return found[0].level, found[0].topic


def test_a_healthy_place_has_no_trouble(patient: Patient) -> None:
    """And looking at it makes no cache directory."""
    assert troubles(patient) == []
    assert not patient.directory.exists()


def without(*packages: str) -> Callable[[str], bool]:
    return lambda package: package not in packages


@pytest.mark.parametrize(
    ("missing", "found"),
    [
        (("onnxruntime",), ("slow", "packages")),
        (("onnxruntime", "sentence_transformers"), ("broken", "packages")),
    ],
)
def test_a_missing_package_is_an_extra_to_install(
    patient: Patient, monkeypatch: pytest.MonkeyPatch, missing: Any, found: tuple[str, str]
) -> None:
    """Without both engines nothing can be loaded; without one it is slower."""
    monkeypatch.setattr(checks, "is_installed", without(*missing))
    result = troubles(patient)
    assert only(result) == found
    assert "pip install 'pytest-embedcache[" in str(result[0].remedy)


def test_redis_needs_its_package(patient: Patient, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a Redis is set; its URL is not shown."""
    monkeypatch.setattr(checks, "is_installed", without("redis"))
    assert troubles(patient) == []
    monkeypatch.setenv("EMBEDCACHE_REDIS_URL", "redis://:hunter2@there")
    result = troubles(patient)
    assert only(result) == ("broken", "packages")
    assert "hunter2" not in str(result)


@posix
def test_a_directory_that_cannot_be_written_keeps_nothing(
    patient: Patient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Asked by writing: root may write where modes forbid it."""

    def refuse(**options: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(checks.tempfile, "TemporaryFile", refuse)
    assert only(troubles(patient)) == ("broken", "cache")


@posix
def test_a_directory_that_others_can_write_is_broken(patient: Patient) -> None:
    """They could replace what is loaded from it."""
    patient.directory.mkdir(parents=True)
    patient.directory.chmod(0o777)
    result = troubles(patient)
    assert only(result) == ("broken", "cache")
    assert "chmod go-w" in str(result[0].remedy)


@pytest.mark.parametrize("kind", ["memory", "network"])
def test_a_cache_that_is_on_no_disk_of_this_machine_is_slow(patient: Patient, kind: str) -> None:
    """It is gone after a restart, or a request for every read."""
    disk = Disk(kind, "some", "it is there")
    changed = replace(patient, profile=replace(HEALTHY, disk=disk))
    assert only(troubles(changed)) == ("slow", "cache")


def test_a_model_that_has_to_be_fetched_is_slow_or_cannot_be_had(
    patient: Patient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With HF_HUB_OFFLINE it stays away."""
    away = replace(patient, model="all-MiniLM-L6-v2")
    assert only(troubles(away)) == ("broken", "model")
    monkeypatch.delenv("HF_HUB_OFFLINE")
    assert only(troubles(away)) == ("slow", "model")


def test_a_damaged_model_is_broken(patient: Patient, tiny: Path) -> None:
    """It says what is missing."""
    (tiny / "model.safetensors").unlink()
    result = troubles(patient)
    assert only(result) == ("broken", "model")
    assert "model.safetensors is missing" in result[0].what


def test_more_threads_than_cores_are_slow(
    patient: Patient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the variable, or by the processor's cores where a quota leaves fewer."""
    monkeypatch.setenv("OMP_NUM_THREADS", "8")
    assert only(troubles(patient)) == ("slow", "threads")
    monkeypatch.delenv("OMP_NUM_THREADS")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)), raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    result = troubles(patient)
    assert only(result) == ("slow", "threads")
    assert result[0].remedy == "export OMP_NUM_THREADS=2"


def test_little_memory_is_slow(patient: Patient) -> None:
    """Torch alone takes half a gigabyte."""
    poor = replace(patient, profile=replace(HEALTHY, memory_free=GIB // 4))
    assert only(troubles(poor)) == ("slow", "memory")


def test_an_accelerator_that_is_not_used_is_noted(patient: Patient) -> None:
    """One that torch can use, and one that it cannot."""
    card = Accelerator("cuda:0", "H100")
    for torch in ("2.13.0", "2.13.0+cpu"):
        profile = replace(HEALTHY, accelerators=(card,), torch=torch)
        found = list(checks.accelerator(replace(patient, profile=profile)))
        assert [(finding.level, bool(finding.remedy)) for finding in found] == [("note", True)]
    assert list(checks.accelerator(patient)) == []


def test_forking_is_noted(patient: Patient, monkeypatch: pytest.MonkeyPatch) -> None:
    """As it is set, or would be by default; looking does not set it."""
    before = multiprocessing.get_start_method(allow_none=True)
    for method, count in (("fork", 1), ("spawn", 0)):
        with monkeypatch.context() as patch:
            patch.setattr(multiprocessing, "get_start_method", lambda allow_none, m=method: m)
            assert len(list(checks.forks(patient))) == count
    list(checks.forks(patient))
    assert multiprocessing.get_start_method(allow_none=True) == before


def test_ci_without_recordings_is_slow(patient: Patient, monkeypatch: pytest.MonkeyPatch) -> None:
    """With them it is not, wherever they are."""
    monkeypatch.setenv("CI", "true")
    assert only(troubles(patient)) == ("slow", "ci")
    recorded = Path(__file__).parents[3] / "examples" / "recorded" / "tests" / "embeddings"
    monkeypatch.setenv("EMBEDCACHE_RECORDINGS", str(recorded))
    assert troubles(patient) == []


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("EMBEDCACHE_CACHE_TTL", "soon"),
        ("EMBEDCACHE_MODEL_TIMEOUT", "never"),
        ("EMBEDCACHE_LOCK_TIMEOUT", "-3"),
        ("EMBEDCACHE_STRATEGY", "eager"),
    ],
)
def test_a_variable_that_cannot_be_used_is_broken(
    patient: Patient, monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    """It is named."""
    monkeypatch.setenv(variable, value)
    result = troubles(patient)
    assert only(result) == ("broken", "settings")
    assert variable.removeprefix("EMBEDCACHE_").lower() in result[0].what.lower()


# ------------------------------------------------------------------------------ the command


@pytest.fixture
def _all_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever this environment lacks."""
    monkeypatch.setattr(checks, "is_installed", lambda package: True)


@pytest.mark.usefixtures("_all_installed")
def test_it_prints_what_is_here_and_its_status_says_whether_it_works(
    command: Command, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For people and as JSON; 1 where something is broken, the worst first."""
    shown = command.json("doctor")
    assert set(shown) == {"python", "installed", "machine", "cache", "findings"}
    assert shown["installed"]["pytest"] == pytest.__version__
    ran = command("doctor")
    assert ran.status == 0
    assert ran.out.startswith("Python ")
    assert f"ok     model: {tiny.resolve()} is on this machine" in ran.out
    shutil.rmtree(tiny / "1_Pooling")
    ran = command("doctor", "--model", tiny)
    assert ran.status == 1
    first = ran.out.split("\n\n")[1].splitlines()
    assert first[0].startswith("broken model: ")
    assert first[1].startswith("       → ")


@pytest.mark.usefixtures("_all_installed")
def test_what_is_prepared_is_counted(command: Command, cache_dir: Path) -> None:
    """By kind; a file beside them is nothing."""
    for name in ("snapshot/a", "snapshot/b", "onnx/c"):
        (cache_dir / "v1" / "artifacts" / name).mkdir(parents=True)
    (cache_dir / "v1" / "artifacts" / "onnx" / "c.lock").touch()
    assert command.json("doctor")["cache"]["prepared"] == {"onnx": 1, "snapshot": 2}


@pytest.mark.usefixtures("_all_installed")
def test_stored_vectors_and_the_journal_are_looked_at(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A journal mode other than WAL is slow."""

    def stored() -> list[tuple[str, str]]:
        found = command.json("doctor")["findings"]
        return [(f["level"], f["what"]) for f in found if f["topic"] == "vectors"]

    assert stored() == [("ok", "nothing is stored yet")]
    store = command.store()
    store.put_many("0" * 64, {b"k" * 32: np.ones(3, dtype=np.float32)})
    store.close()
    assert stored() == [("ok", "1 vectors are stored")]
    stats = SqliteStore.stats

    def deleting(self: SqliteStore) -> Any:
        found = stats(self)
        found.details["journal_mode"] = "delete"
        return found

    monkeypatch.setattr(SqliteStore, "stats", deleting)
    assert [level for level, _ in stored()] == ["slow", "ok"]


def test_nothing_heavy_is_imported_for_it() -> None:
    """Neither torch nor ONNX Runtime: they are asked for by name."""
    code = (
        "import sys\n"
        "from pytest_embedcache.cli import main\n"
        "main(['doctor'])\n"
        "print(sorted({'torch', 'onnxruntime', 'transformers'} & sys.modules.keys()))"
    )
    assert python(code).splitlines()[-1] == "[]"
