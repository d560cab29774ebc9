"""A graph that runs: ONNX Runtime, with what keeps its memory small."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_embedcache.models.freed import trim

if TYPE_CHECKING:
    import numpy as np

__all__ = ["Session"]


class Session:
    """Runs the graph in `file` on the CPU.

    A forked child gets a session of its own, with one thread: those of the parent's do not exist
    there, and whoever waited for them would wait for ever.

    Args:
        file: The graph; its weights lie beside it and are mapped, not read. Those that the file
            holds as the processor wants them (`packing`) are mapped so, others are arranged in
            memory of each process's own.
        threads: With which one run computes.
    """

    def __init__(self, file: Path, threads: int) -> None:
        self._file = file
        self._session = _open(file, threads)
        self._process = os.getpid()
        self._inherited: Any = None
        self.inputs = frozenset(entry.name for entry in self._session.get_inputs())

    def run(self, arrays: Mapping[str, np.ndarray]) -> np.ndarray:
        """The vectors of one batch, float32 of shape (texts, dimension).

        Of `arrays` those are used that the graph asks for, be it that it only seems to need them.
        """
        if os.getpid() != self._process:
            # Kept: to end it would mean to wait for its threads.
            self._inherited = self._session
            self._session = _open(self._file, 1)
            self._process = os.getpid()
        feeds = {name: array for name, array in arrays.items() if name in self.inputs}
        (found,) = self._session.run(["sentence_embedding"], feeds, _run_options())
        # What the session returns lies in its own memory, all of which one kept row would hold.
        copied: np.ndarray = found.copy()
        return copied


def _open(file: Path, threads: int) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # Threads that wait for the next operation otherwise turn in circles, on the cores of others.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(
        str(file), sess_options=options, providers=["CPUExecutionProvider"]
    )
    trim()  # the graph before it was optimized, and weights that lie in the file after all
    return session


def _run_options() -> Any:
    import onnxruntime

    options = onnxruntime.RunOptions()
    # Gives back what a long batch took, once it is done.
    options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
    return options
