"""Initial weights out of an ``.npz`` file. Imports the standard library, NumPy and `fastbp.sweep.values`."""

import io
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from fastbp.sweep.sections import WEIGHT_KEY
from fastbp.sweep.values import RefusedError, quoted, text

# What an archive that is damaged, encrypted or claims to be larger than memory raises.
_BROKEN = (
    *(ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error),
    *(NotImplementedError, RuntimeError, MemoryError),
)


def read_weights(folder: Path, name: Any) -> dict[str, Any]:
    """Return the arrays W1, b1, W2 ... of an ``.npz`` file, relative to `folder`, as rows.

    Arrays that hold Python objects are refused: reading them could run any code.
    """
    path = folder / text(name)
    if path.suffix.lower() != ".npz":
        raise RefusedError(f"{quoted(name)} is no .npz file; save the arrays with numpy.savez")
    advice = f"{quoted(name)} is no .npz file of plain numbers; save it anew with numpy.savez"
    try:
        stream = io.BytesIO(path.read_bytes())
        if not zipfile.is_zipfile(stream):
            raise RefusedError(advice)
        with np.load(stream, allow_pickle=False) as arrays:
            return {key: _array(key, arrays[key]) for key in arrays.files}
    except RefusedError:
        raise
    except OSError as error:
        raise RefusedError(f"{quoted(name)} cannot be read: {error.strerror or error}") from error
    except _BROKEN as error:
        raise RefusedError(advice) from error


def _array(key: str, array: Any) -> Any:
    if not WEIGHT_KEY.fullmatch(key):
        raise RefusedError(f"holds an array {quoted(key)}; known: W1, b1, W2, b2 ...")
    n_axes = 2 if key.startswith("W") else 1
    if not isinstance(array, np.ndarray):  # a file of another kind in the archive
        raise RefusedError(f"{key} is no array; save the arrays with numpy.savez")
    if array.dtype.kind not in "fiu" or array.ndim != n_axes or array.size == 0:
        wanted = "a matrix of numbers" if n_axes == 2 else "a row of numbers"
        raise RefusedError(f"{key} must be {wanted}, not {array.dtype} of shape {array.shape}")
    values = array.astype(np.float64)
    if not np.isfinite(values).all():
        raise RefusedError(f"{key} holds numbers that are not finite")
    return tuple(map(tuple, values.tolist())) if n_axes == 2 else tuple(values.tolist())
