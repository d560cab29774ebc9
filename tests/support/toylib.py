"""A package on disk, `toylib`, laid out as sentence-transformers is: for the lazy modules."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent

__all__ = ["write_toylib"]

FILES = {
    "__init__": """
        import toylib_log
        toylib_log.log.append("toylib")
        if toylib_log.fails:
            raise OSError("a broken install")
        from toylib.util import near
        from toylib.part.model import Class
        from toylib import Class as seen_by_itself
        from toylib.part import Class as seen_below
        value = 1
        missing_submodule_is_asked_for_here = hasattr(toylib_log, "nothing")
    """,
    "util/__init__": """
        import toylib_log
        toylib_log.log.append("toylib.util")
        from toylib.util.numbers import one

        def near():
            return one

        def _private():
            return "private"
    """,
    "util/numbers": "one = 1\n",
    "util/deprecated_import": """
        TABLE = {
            "toylib.old": "toylib.part",
            "toylib.old.Below": "toylib.part.below",
        }
        import sys, importlib.util

        class Finder:
            def find_spec(self, name, path=None, target=None):
                return None
    """,
    "part/__init__": """
        import toylib_log
        toylib_log.log.append("toylib.part")
        from toylib.part.model import Class
        from toylib.part.Other import Other
    """,
    "part/model": """
        class Class:
            def __init__(self, value=None):
                self.value = value
    """,
    "part/Other": "class Other: pass\n",
    "part/below": "depth = 2\n",
    "broken": "raise OSError('broken')\n",
    "apart": "value = 3\n",
    "slow": """
        import toylib_log
        toylib_log.running.set()
        toylib_log.go.wait(0.2)  # nobody says go but who did not wait
        value = 5
    """,
}


def write_toylib(folder: Path) -> None:
    """Write it, and beside it `toylib_log`: the modules that ran, and whether the first fails."""
    for name, text in FILES.items():
        file = folder / "toylib" / f"{name}.py"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(dedent(text))
    (folder / "toylib_log.py").write_text(
        "import threading\nlog = []\nfails = False\n"
        "running, go = threading.Event(), threading.Event()\n"
    )
