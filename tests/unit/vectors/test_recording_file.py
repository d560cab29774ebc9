"""A recorded vector is exact, and an edited file is found out."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from pytest_embedcache.errors import RecordingError
from pytest_embedcache.vectors.keys import KeyFields
from pytest_embedcache.vectors.recording_file import (
    Recording,
    can_be_recorded,
    name_of,
    read_recording,
    relative_path,
)

MODEL = "a" * 64
ODD = np.array([0.0, -0.0, 1e-45, -1e-45, 3.4028235e38, -1.0, 1 / 3, 2**-126], np.float32)
RECORDING = Recording(
    "one\ntwo \ud83d", ODD, "query", "find: ", {"normalize": True, "truncate_dim": 8}
)


def written(recording: Recording, folder: Path) -> tuple[Path, bytes]:
    """Its file, and its key."""
    key = recording.key(MODEL)
    path = folder / relative_path(key)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(recording.to_bytes(MODEL))
    return path, key


@settings(deadline=None)
@given(
    st.text(),
    arrays.arrays(
        np.float32,
        st.integers(1, 50),
        elements=st.floats(width=32, allow_nan=False, allow_infinity=False),
    ),
    st.none() | st.sampled_from(["query", "document"]),
    st.none() | st.text(),
)
def test_a_recording_comes_back_bit_for_bit(
    tmp_path_factory: pytest.TempPathFactory,
    text: str,
    vector: np.ndarray,
    role: str | None,
    prompt: str | None,
) -> None:
    """Text, role, prompt and every bit of the vector."""
    folder = tmp_path_factory.mktemp("model", numbered=True)
    recording = Recording(text, vector, role, prompt)
    path, key = written(recording, folder)
    found = read_recording(str(path), MODEL, key)
    assert (found.text, found.role, found.prompt) == (text, role, prompt)
    assert found.vector.tobytes() == vector.tobytes()
    assert found.to_bytes(MODEL) == path.read_bytes()
    assert name_of(path) == key


def test_an_odd_one_comes_back(tmp_path: Path) -> None:
    """Subnormal numbers, negative zero, options and a lone surrogate."""
    path, key = written(RECORDING, tmp_path)
    found = read_recording(str(path), MODEL, key)
    assert found.vector.tobytes() == ODD.tobytes()
    assert (found.text, found.options) == (RECORDING.text, RECORDING.options)


def test_line_ends_that_git_changed_change_nothing(tmp_path: Path) -> None:
    """A checkout with CRLF is the same recording."""
    path, key = written(RECORDING, tmp_path)
    assert b"\r" not in path.read_bytes()
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert read_recording(str(path), MODEL, key).vector.tobytes() == ODD.tobytes()


def put(name: str, value: object) -> Callable[[dict[str, Any]], object]:
    return lambda content: content.__setitem__(name, value)


@pytest.mark.parametrize(
    "edit",
    [
        put("text", "one\ntwo"),
        put("text", 3),
        put("role", "document"),
        put("role", None),
        put("prompt", ["find:"]),
        put("options", {}),
        put("options", {"normalize": 1, "truncate_dim": 8}),
        put("options", None),
        put("state", {"max_seq_length": "3"}),
        put("dimension", 7),
        put("checksum", "0" * 16),
        put("vector", []),
        put("vector", ["AAAA"]),
        put("vector", ["not base64"]),
        put("vector", 3),
        *(lambda content, name=name: content.pop(name) for name in ("text", "role", "vector")),
    ],
)
def test_every_edit_is_found_out(tmp_path: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    """A changed field is an error that names the file."""
    path, key = written(RECORDING, tmp_path)
    content = json.loads(path.read_bytes())
    edit(content)
    path.write_text(json.dumps(content))
    with pytest.raises(RecordingError) as caught:
        read_recording(str(path), MODEL, key)
    assert caught.value.path == str(path)
    assert str(path) in str(caught.value)


def test_every_damaged_byte_is_found_out_or_means_the_same(tmp_path: Path) -> None:
    """Whatever byte is flipped: the same recording, or an error; never another vector."""
    path, key = written(RECORDING, tmp_path)
    whole = path.read_bytes()
    errors = 0
    for at in range(len(whole)):
        damaged = bytearray(whole)
        damaged[at] ^= 1
        path.write_bytes(damaged)
        try:
            found = read_recording(str(path), MODEL, key)
        except RecordingError:
            errors += 1
        else:
            assert found.vector.tobytes() == ODD.tobytes()
            assert found.text == RECORDING.text
    assert errors > len(whole) * 0.7  # the rest is white space


@pytest.mark.parametrize("size", [0, 1, 30, 200])
def test_a_torn_file_is_an_error(tmp_path: Path, size: int) -> None:
    """A file that ends early is not a shorter vector."""
    path, key = written(RECORDING, tmp_path)
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(RecordingError):
        read_recording(str(path), MODEL, key)


def test_a_file_under_another_name_is_an_error(tmp_path: Path) -> None:
    """A sound file in the place of another text's is found out."""
    path, _ = written(RECORDING, tmp_path)
    with pytest.raises(RecordingError, match="not those of its name"):
        read_recording(str(path), MODEL, bytes(32))


def test_what_json_cannot_hold_is_not_recorded() -> None:
    """Bytes, and keys that are no strings, would come back as something else."""
    assert can_be_recorded(KeyFields(MODEL, options={"a": [1, 1.5, None, {"b": "c"}]}))
    assert not can_be_recorded(KeyFields(MODEL, options={"a": b"bytes"}))
    assert not can_be_recorded(KeyFields(MODEL, options={"a": {1: "one"}}))
    assert not can_be_recorded(KeyFields(MODEL, options={"a": "\ud83d\ude00"}))


@pytest.mark.parametrize(
    "name", ["ab/x.json", "embedcache.json", f"ab/{'0' * 62}.txt", f"AB/{'0' * 62}.json"]
)
def test_other_files_are_not_recordings(name: str) -> None:
    """Only what is named by a key counts."""
    assert name_of(Path("model", name)) is None
