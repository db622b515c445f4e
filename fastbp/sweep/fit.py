"""What [data] gets wrong by itself and with the networks: the part of `conflicts` that concerns the data.

Data in the sweep file and built-in sets are held against the rest as the file is loaded; a file of data when
`fastbp.data` has read it, by the same functions. Nothing here raises for a wrong file: what is wrong becomes a
`Finding`. Imports the standard library, the table of `fastbp.datasets` and, of `fastbp.sweep`, `conflicts`,
`extent`, `parameters` and `values`.
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from fastbp.datasets import DATASETS, SET_PARAMETERS
from fastbp.sweep.conflicts import Candidate, Draft, Finding
from fastbp.sweep.extent import Extent, is_one_hot, n_outputs, n_validation, set_extent
from fastbp.sweep.locate import Path
from fastbp.sweep.parameters import PARAMETERS
from fastbp.sweep.values import RefusedError, quoted

MAXIMUM_NUMBERS = 10**8  # inputs of a built-in set: 0.8 GB

Chosen = Mapping[str, Candidate]


def data_conflicts(draft: Draft) -> list[Finding]:
    """Return what does not fit together in [data], and what of the networks does not fit the data."""
    found: dict[Path, Finding] = {}
    checks = (
        *(_sources, _columns_of_files, _foreign_parameters, _unpaired_rows),
        *(_too_large, _unfit_columns, _together_with_sample, _absent_samples),
    )
    for check in checks:
        for finding in check(draft):
            found.setdefault(finding.path, finding)
    return list(found.values())


def losses(draft: Draft) -> frozenset[str]:
    """Return the losses of all runs."""
    return frozenset(
        item.value for index in range(len(draft.grids)) for item in draft.candidates(index, "loss")
    )


def _meetings(draft: Draft, index: int, names: Sequence[str]) -> Iterator[Chosen]:
    """Yield the values of parameters that meet in a grid, None where unset; nothing where one was refused."""
    if all(draft.knows(index, name) for name in names):
        for chosen in draft.meetings(index, *names, unset=True):
            yield dict(zip(names, chosen, strict=True))


def _values(chosen: Chosen) -> dict[str, Any]:
    return {name: candidate.value for name, candidate in chosen.items()}


def _extents(draft: Draft, index: int, names: Sequence[str]) -> Iterator[tuple[Extent, Chosen]]:
    """Yield how much data there are in a grid, as far as that depends on the parameters `names` of a set."""
    if draft.extent is not None:
        yield draft.extent, {}
    elif not draft.data.file and ("data", "file") not in draft.refused:
        for chosen in _meetings(draft, index, ("dataset", *names)):
            if chosen["dataset"].value is not None:
                yield set_extent(_values(chosen)), chosen


def _sources(draft: Draft) -> Iterator[Finding]:
    """Yield a second source of data."""
    inline = [key for key in ("x", "y") if getattr(draft.data, key)]
    first = " and ".join(inline) or ("file" if draft.data.file else "")
    advice = f"but the data come from {first} already; keep one of x and y, file, dataset"
    if inline and draft.data.file:
        yield Finding(("data", "file"), f"names a file, {advice}", (("data", inline[0]),))
    for index in range(len(draft.grids)):
        for name, path in draft.candidates(index, "dataset"):
            if first:
                yield Finding(path, f"{name} is a data set, {advice}", (("data", (*inline, "file")[0]),))


def _columns_of_files(draft: Draft) -> Iterator[Finding]:
    data = draft.data
    if ("data", "file") in draft.refused:
        return
    for key in ("inputs", "targets"):
        if getattr(data, key) and not data.file:
            yield Finding(("data", key), "names columns of a file, but [data] names no file")
    named = data.targets or ("data", "targets") in draft.refused
    if data.file and not named and not data.file.lower().endswith(".npz"):
        yield Finding(("data", "targets"), f"is missing; name the columns of {data.file} that are targets")
    for place, name in enumerate(data.targets or ()):
        if name in (data.inputs or ()):
            message = f"{quoted(name)} is an input and a target; keep it in one of the two"
            yield Finding(("data", "targets", place), message, (("data", "inputs"),))


def _foreign_parameters(draft: Draft) -> Iterator[Finding]:
    """Yield parameters that the data set of a run does not have."""
    for index in range(len(draft.grids)):
        if not draft.knows(index, "dataset"):
            continue
        sets = [item.value for item in draft.candidates(index, "dataset")]
        for name, path in _given_set_parameters(draft, index):
            lacking = [dataset for dataset in sets if name not in DATASETS[dataset].parameters]
            if lacking or not sets:
                having = ", ".join(key for key, entry in DATASETS.items() if name in entry.parameters)
                subject = f"dataset {lacking[0]} has no {name}" if sets else f"only a dataset has {name}"
                yield Finding(path, f"{subject}; those that have it: {having}", (("data", "dataset"),))


def _given_set_parameters(draft: Draft, index: int) -> Iterator[tuple[str, Path]]:
    for name in SET_PARAMETERS:
        if name not in PARAMETERS:
            if getattr(draft.data, name) is not None:
                yield name, ("data", name)
        elif candidates := draft.candidates(index, name):
            yield name, candidates[0].path[:3]


def _unpaired_rows(draft: Draft) -> Iterator[Finding]:
    n_x, n_y = len(draft.data.x), len(draft.data.y)
    if n_x and n_y and n_x != n_y:
        message = f"has {n_y} rows but data.x has {n_x}; each sample needs one row of both"
        yield Finding(("data", "y"), message, (("data", "x"),))


def _too_large(draft: Draft) -> Iterator[Finding]:
    for index in range(len(draft.grids)):
        for extent, chosen in _extents(draft, index, ("size", "features")):
            if chosen and extent.n_samples * extent.n_inputs > MAXIMUM_NUMBERS:
                key = "size" if chosen["size"].value else "features"
                message = f"makes {extent.n_samples:.8g} samples of {extent.n_inputs} inputs"
                advice = f"a data set may have {MAXIMUM_NUMBERS} inputs in all"
                yield Finding(chosen[key].path, f"{message}; {advice}")


def _unfit_columns(draft: Draft) -> Iterator[Finding]:
    """Yield targets that are not the classes they should be, and layers that do not fit the columns."""
    of_classes = ("one_hot", "classes", "standardise")
    all_losses = losses(draft)
    for index in range(len(draft.grids)):
        for (extent, of_set), chosen in itertools.product(
            _extents(draft, index, ("features",)), _meetings(draft, index, of_classes)
        ):
            values = _values(chosen)
            try:
                columns = n_outputs(extent, values, all_losses)
            except RefusedError as refusal:
                key = refusal.path[0] if refusal.path else None
                place = chosen[str(key)].path if key else _source_path(draft, of_set, "targets")
                yield Finding(place, str(refusal), (("data", "y"), ("data", "dataset"), ("data", "file")))
                continue
            one_hot = is_one_hot(extent, values, all_losses)
            for layers, path in draft.candidates(index, "layers"):
                yield from _unfit_ends(draft, layers, path, extent, columns, one_hot)


def _source_path(draft: Draft, of_set: Chosen, part: str) -> Path:
    """Return where the source of the inputs or the targets is named."""
    if of_set:
        return of_set["dataset"].path
    if draft.data.file:
        return ("data", part if getattr(draft.data, part) else "file")
    return ("data", "x" if part == "inputs" else "y")


def _unfit_ends(
    draft: Draft, layers: Sequence[int], path: Path, extent: Extent, n_columns: int, one_hot: bool
) -> Iterator[Finding]:
    """Yield where layers, which stand at `path`, have other numbers of units than the data have columns."""
    inline = bool(draft.data.x or draft.data.y)
    for key, units, columns, verb, noun in (
        ("x", layers[0], extent.n_inputs, "begin", "inputs"),
        ("y", layers[-1], n_columns, "end", "targets"),
    ):
        if columns and units != columns:
            classes = "classes, a column each" if one_hot and key == "y" else ""
            found = f"data.{key} has" if inline else f"{extent.source} has"
            found = f"{found} {columns} {classes or ('columns' if inline else noun)}"
            # Among many layers the odd one is named; where there is one, the data.
            where: Path = path if path[0] in ("grid", "random") or not inline else ("data", key)
            message = f"layers {list(layers)} {verb} with {units} but {found}; make them equal"
            if key == "y" and columns == 1 and extent.labels and extent.labels.n_classes:
                message += ", or set one_hot = true in [data] for a column a class"
            yield Finding(where, message, (path, ("data", key), ("data", "dataset"), ("data", "file")))


def _together_with_sample(draft: Draft) -> Iterator[Finding]:
    for index in range(len(draft.grids)):
        chosen = draft.candidates(index, "sample")
        for other in ("validation", "samples", "split_seed"):
            given = [
                item.path for item in draft.candidates(index, other) if item.value or other == "split_seed"
            ]
            if chosen and given:
                message = f"trains on one sample of all, so {other} has no part in it; keep one of the two"
                yield Finding(chosen[0].path[:3], message, (given[0],))


def _absent_samples(draft: Draft) -> Iterator[Finding]:
    """Yield splits that leave nothing, and samples that are not there, in the smallest data they meet."""
    for index in range(len(draft.grids)):
        all_data, training = [], []
        for (extent, _), chosen in itertools.product(
            _extents(draft, index, ("size", "features")), _meetings(draft, index, ("validation",))
        ):
            all_data.append(extent.n_samples)
            try:
                training.append(extent.n_samples - n_validation(extent.n_samples, chosen["validation"].value))
            except RefusedError as refusal:
                yield Finding(
                    chosen["validation"].path, str(refusal), (("data", "dataset"), ("data", "file"))
                )
        for sample, path in draft.candidates(index, "sample") if all_data else ():
            if sample >= min(all_data):
                message = (
                    f"sample {sample} does not exist; there are {min(all_data)} samples, counting from 0"
                )
                yield Finding(path, message, (("data", "x"),))
        for count, path in draft.candidates(index, "samples") if training else ():
            if count > min(training):
                message = f"asks for {count} samples; there are {min(training)} to train on"
                yield Finding(path, message, (("data", "x"), ("data", "validation")))
