"""What activations, losses, schedules, batches, stopping and the record get wrong together.

The part of `conflicts` that concerns how networks are trained. Nothing here raises for a wrong file: what is wrong
becomes a `Finding`. Imports the standard library, the tables of names in `fastbp.kernels` and, of `fastbp.sweep`,
`conflicts`, `needs`, `parameters` and `sections`.
"""

from collections.abc import Iterator

from fastbp.kernels.activations import ACTIVATIONS
from fastbp.kernels.losses import LOSSES
from fastbp.kernels.schedules import SCHEDULES
from fastbp.sweep.conflicts import Candidate, Draft, Finding
from fastbp.sweep.locate import Path
from fastbp.sweep.needs import activations
from fastbp.sweep.parameters import PARAMETERS
from fastbp.sweep.sections import Record

_OF_ACTIVATIONS = ("activation", "hidden_activation", "output_activation", "layers")


def training_conflicts(draft: Draft, record: Record) -> list[Finding]:
    """Return what does not fit together in how the networks are trained, each problem once."""
    found: dict[Path, Finding] = {}
    for check in (_unfit_activations, _unfit_losses, _lengths, _unset_schedules, _companions, _unfit_freeze):
        for finding in check(draft):
            found.setdefault(finding.path, finding)
    for finding in _unfit_record(draft, record):
        found.setdefault(finding.path, finding)
    return list(found.values())


def _activations(draft: Draft, index: int) -> Iterator[tuple[tuple[str, ...], tuple[Candidate, ...]]]:
    """Yield the activations of each network of a grid, and the values that they come from."""
    if all(draft.knows(index, name) for name in _OF_ACTIVATIONS):
        for items in draft.meetings(index, *_OF_ACTIVATIONS, unset=True):
            values = dict(zip(_OF_ACTIVATIONS, (item.value for item in items), strict=True))
            layers, common = values["layers"], values["activation"]
            if layers and (isinstance(common, str) or len(common) == len(layers) - 1):
                yield activations(values), items


def _unfit_activations(draft: Draft) -> Iterator[Finding]:
    """Yield lists of activations of another length than the layers, and softmax before the last layer."""
    for index in range(len(draft.grids)):
        for activation, layers in draft.meetings(index, "activation", "layers"):
            if isinstance(activation.value, tuple) and len(activation.value) != len(layers.value) - 1:
                message = f"has {len(activation.value)} activations but layers {list(layers.value)} have"
                advice = f"{len(layers.value) - 1} layers of weights; give one for each"
                yield Finding(activation.path, f"{message} {advice}", (layers.path,))
        for names, items in _activations(draft, index):
            for name in names[:-1]:
                if ACTIVATIONS[name].over_layer:
                    source = items[1] if items[1].value is not None else items[0]
                    message = f"{name} is an activation of the last layer alone; name it as output_activation"
                    yield Finding(source.path, message, tuple(item.path for item in items if item.path))


def _unfit_losses(draft: Draft) -> Iterator[Finding]:
    """Yield losses that need another activation of the last layer."""
    for index in range(len(draft.grids)):
        losses = {item.value: item for item in draft.candidates(index, "loss")}
        if not any(LOSSES[name].output for name in losses):
            continue
        for items in draft.meetings(index, "loss", *_OF_ACTIVATIONS, unset=True):
            if not all(draft.knows(index, name) for name in ("loss", *_OF_ACTIVATIONS)):
                break
            values = dict(zip(_OF_ACTIVATIONS, (item.value for item in items[1:]), strict=True))
            common = values["activation"]
            last = values["output_activation"] or (common if isinstance(common, str) else common[-1])
            wanted = LOSSES[items[0].value].output
            if wanted and last != wanted:
                message = f"{items[0].value} goes with the output activation {wanted}, not {last}"
                causes = tuple(item.path for item in items[1:] if item.path)
                where = items[0].path or ("training", "loss")
                yield Finding(where, f'{message}; set output_activation = "{wanted}"', causes)


def _lengths(draft: Draft) -> Iterator[Finding]:
    """Yield grids whose runs have both steps and epochs."""
    for index in range(len(draft.grids)):
        if not draft.knows(index, "steps") or not draft.knows(index, "epochs"):
            continue
        steps, epochs = (draft.candidates(index, name) for name in ("steps", "epochs"))
        if steps and epochs:
            message = "steps and epochs both say how long a run is; keep one of the two"
            yield Finding(epochs[0].path[:3], message, (steps[0].path,))


def _unset_schedules(draft: Draft) -> Iterator[Finding]:
    """Yield schedules that lack a number without which they mean nothing."""
    for index in range(len(draft.grids)):
        for name, path in draft.candidates(index, "schedule"):
            for own, default in SCHEDULES[name].defaults.items():
                if default is None and draft.knows(index, own) and not draft.gives(index, own):
                    message = f"the schedule {name} needs {own}; set it in [training] or make it an axis"
                    yield Finding(path, message)


# Parameters that mean nothing without another: the value from which they do, and the other.
_COMPANIONS = (
    ("batch_order", "shuffled", "batch_size"),
    ("batch_seed", None, "batch_size"),
    ("stop_at_target", False, "target_loss"),
    ("patience", None, "validation"),
    ("min_delta", None, "patience"),
    ("validate_every", None, "patience"),
)


def _companions(draft: Draft) -> Iterator[Finding]:
    for index in range(len(draft.grids)):
        for name, without, other in _COMPANIONS:
            set_ = [item for item in draft.candidates(index, name) if item.value != without]
            if set_ and draft.knows(index, other) and not _has(draft, index, other):
                section = PARAMETERS[other].section
                message = f"means nothing without {other}; set {other} in [{section}], or remove this"
                yield Finding(set_[0].path[:3], message)


def _has(draft: Draft, index: int, name: str) -> bool:
    """Return whether some run of a grid has a value of a parameter; ``validation = 0`` keeps no samples."""
    if name == "validation":
        return any(item.value for item in draft.candidates(index, name))
    return draft.gives(index, name)


def _unfit_freeze(draft: Draft) -> Iterator[Finding]:
    for index in range(len(draft.grids)):
        for freeze, layers, bias in draft.meetings(index, "freeze", "layers", "bias"):
            for name in freeze.value:
                depth = len(layers.value) - 1
                if name[1:] and int(name[1:]) > depth:
                    message = (
                        f"{name} does not exist; layers {list(layers.value)} have {depth} layers of weights"
                    )
                    yield Finding(freeze.path, message, (layers.path,))
                if name[0] == "b" and not bias.value:
                    yield Finding(freeze.path, f"{name} does not exist: bias is false", (bias.path,))


def _unfit_record(draft: Draft, record: Record) -> Iterator[Finding]:
    history = [name for name in ("history", "history_every", "history_log") if getattr(record, name)]
    if len(history) > 1:
        yield Finding(("record", history[1]), f"{history[0]} is set too; keep one of the two")
    if record.measures != ("loss",) and not history:
        message = "is what a history holds; set history = true, history_every or history_log"
        yield Finding(("record", "measures"), message)
    batched = [item for index in range(len(draft.grids)) for item in draft.candidates(index, "batch_size")]
    if record.trace and batched:
        message = "a trace needs steps over all samples; remove batch_size, or set trace = false"
        yield Finding(("record", "trace"), message, (batched[0].path,))
    of_validation = [name for name in record.measures if name.startswith("validation")]
    indices = range(len(draft.grids))
    known = all(draft.knows(index, "validation") for index in indices)
    if of_validation and known and not any(_has(draft, index, "validation") for index in indices):
        message = f"{of_validation[0]} needs samples kept for it; set validation in [data]"
        yield Finding(("record", "measures"), message)
