"""Initial weights out of an ``.npz`` file. Imports the standard library, NumPy and `fastbp.sweep.values`."""

import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from fastbp.sweep.sections import WEIGHT_KEY
from fastbp.sweep.values import RefusedError, quoted, text


def read_weights(folder: Path, name: Any) -> dict[str, Any]:
    """Return the arrays W1, b1, W2 ... of an ``.npz`` file, relative to `folder`, as rows.

    Arrays that hold Python objects are refused: reading them could run any code.
    """
    path = folder / text(name)
    if path.suffix.lower() != ".npz":
        raise RefusedError(f"{quoted(name)} is no .npz file; save the arrays with numpy.savez")
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return {key: _array(key, arrays[key]) for key in arrays.files}
    except OSError as error:
        raise RefusedError(f"{quoted(name)} cannot be read: {error.strerror or error}") from error
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        if isinstance(error, RefusedError):
            raise
        raise RefusedError(f"{quoted(name)} is no .npz file of plain numbers; save it anew") from error


def _array(key: str, array: np.ndarray) -> Any:
    if not WEIGHT_KEY.fullmatch(key):
        raise RefusedError(f"holds an array {quoted(key)}; known: W1, b1, W2, b2 ...")
    n_axes = 2 if key.startswith("W") else 1
    if array.dtype.kind not in "fiu" or array.ndim != n_axes or array.size == 0:
        wanted = "a matrix of numbers" if n_axes == 2 else "a row of numbers"
        raise RefusedError(f"{key} must be {wanted}, not {array.dtype} of shape {array.shape}")
    values = array.astype(np.float64)
    if not np.isfinite(values).all():
        raise RefusedError(f"{key} holds numbers that are not finite")
    return tuple(map(tuple, values.tolist())) if n_axes == 2 else tuple(values.tolist())
