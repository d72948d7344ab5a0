"""Chooses the one state dict in a checkpoint's tree, and undoes what wrappers did to its names.

Training scripts bury the weights under a container key, beside optimizers and averages; DataParallel, torch.compile,
the robustness package and RobustBench put prefixes before every name and a normalizer beside the network. Whatever is
not plainly one choice is an error that says between what to choose.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from jinv.errors import ModelMismatchError, UsageError
from jinv_convert.reader import Checkpoint, Opaque, TensorRef

CONTAINERS = ("state_dict", "model", "model_state_dict", "net", "last")
AVERAGED_CONTAINERS = ("state_dict_ema", "model_ema", "ema", "ema_state_dict", "ema_model", "model_ema_state_dict")
PREFIXES = ("module.", "_orig_mod.", "attacker.model.", "model.", "backbone.")
AVERAGED_PREFIXES = ("model_ema.", "ema_model.", "ema.")
NORMALIZERS = {
    f"{owner}{name}": which
    for owner in ("normalizer.", "normalize.", "attacker.normalize.", "attacker.normalizer.", "")
    for which, names in (("mean", ("new_mean", "mean", "mu")), ("std", ("new_std", "std", "sigma")))
    for name in names
}
"""Where wrappers keep their preprocessing: robustness (new_mean), RobustBench (normalize.mean), bare (mu, mean)."""


@dataclass(frozen=True)
class StateDict:
    """The chosen tensors under the network's own names.

    `location` says where they were ("model / module.model."), `normalizer` is a wrapper's (mean, std) or None,
    `clamps` whether that wrapper clips its input to [0, 1], `origins` each tensor's keys from the root of the file.
    """

    tensors: dict[str, TensorRef]
    location: str
    normalizer: tuple[tuple[float, ...], tuple[float, ...]] | None = None
    averaged: bool = False
    clamps: bool = False
    notes: tuple[str, ...] = ()
    origins: dict[str, tuple[str, ...]] = field(default_factory=dict)


def select_state_dict(checkpoint: Checkpoint, select: str | None = None) -> StateDict:
    """The state dict of `checkpoint`; `select` (a container key, prefix or location) answers an ambiguity.

    Raises:
      ModelMismatchError: none or several, two keys equal after stripping, normalizers that disagree, a tensor that
        could not be read.
      UsageError: a file that jinv has converted already.
    """
    path = checkpoint.path
    if "jinv_format" in checkpoint.metadata:
        raise UsageError(f"{path}: already converted by jinv; give the checkpoint that it came from")
    found = [candidate for container, table in _tables(checkpoint) for candidate in _split(path, container, table)]
    if not found:
        raise ModelMismatchError(f"{path}: no state dict in it, only {_describe(checkpoint.tree)}")
    if select is not None:
        wanted = [c for c in found if select in (c.location, *c.location.split(" / "), "ema" if c.averaged else "raw")]
        if len(wanted) != 1:
            raise ModelMismatchError(f"{path}: --select {select!r} matches {len(wanted)} of: {_choices(found)}")
        return wanted[0]
    distinct = [c for i, c in enumerate(found) if not any(_same_tables(c, earlier) for earlier in found[:i])]
    if len(distinct) > 1:
        raise ModelMismatchError(f"{path}: several sets of weights; choose with --select: {_choices(distinct)}")
    return distinct[0]


def same_tensor(a: TensorRef, b: TensorRef) -> bool:
    """Whether two tensors are the same elements of the same storage, or at least have the same bits."""
    if a.view == b.view:
        return True
    return (a.shape, a.dtype) == (b.shape, b.dtype) and a.numpy().tobytes() == b.numpy().tobytes()


def _tables(checkpoint: Checkpoint) -> Iterator[tuple[tuple[str, ...], dict[str, Any]]]:
    """Every mapping that can be a state dict: under a known container key, else the tree itself, else any one key."""
    tree = checkpoint.tree
    if checkpoint.container == "numpy pickle":
        tree = _with_lists_named(tree)
    if isinstance(tree, Opaque):
        raise ModelMismatchError(
            f"{checkpoint.path}: a pickled object ({tree.name}) and no state dict; save model.state_dict() instead"
        )
    if not isinstance(tree, dict):
        return
    known = [key for key in CONTAINERS + AVERAGED_CONTAINERS if _holds_tensors(_inner(tree.get(key))[1])]
    if not known and _holds_tensors(tree):
        yield (), tree
        return
    for key in known or [key for key in tree if isinstance(key, str) and _holds_tensors(_inner(tree[key])[1])]:
        inside, table = _inner(tree[key])
        yield (key, *inside), table


def _with_lists_named(tree: dict[Any, Any]) -> dict[Any, Any]:
    """{"conv1": [kernel, bias]}, as Keras gives a layer's weights, by torch's names and in torch's layout.

    Keras' kernels are (height, width, in, out) and (in, out). Views: no value is touched.
    """
    result: dict[Any, Any] = {}
    for layer, value in tree.items():
        if isinstance(value, list | tuple) and 1 <= len(value) <= 2 and all(isinstance(v, TensorRef) for v in value):
            named = {f"{layer}.weight": _as_torch_has_it(value[0])}
            if len(value) == 2:
                named[f"{layer}.bias"] = value[1]
        else:
            named = {layer: value}
        if taken := named.keys() & result.keys():
            raise ModelMismatchError(f"the name {min(map(str, taken))!r} comes up twice")
        result |= named
    return result


def _as_torch_has_it(kernel: TensorRef) -> TensorRef:
    axes = {4: (3, 2, 0, 1), 2: (1, 0)}.get(len(kernel.shape))
    if axes is None:
        return kernel
    shape, strides = (tuple(values[axis] for axis in axes) for values in (kernel.shape, kernel.strides))
    return TensorRef(shape, kernel.dtype, kernel.storage, kernel.offset, strides, kernel.window, kernel.name)


def _inner(value: Any) -> tuple[tuple[str, ...], Any]:
    """{"model": {"state_dict": {...}}} happens: step once more into a container that is alone in holding tensors."""
    if isinstance(value, dict) and not _holds_tensors(value):
        inside = [key for key in CONTAINERS if _holds_tensors(value.get(key))]
        if len(inside) == 1:
            return (inside[0],), value[inside[0]]
    return (), value


def _holds_tensors(value: Any) -> bool:
    return isinstance(value, dict) and any(isinstance(k, str) and isinstance(v, TensorRef) for k, v in value.items())


def _strip(name: str) -> tuple[str, str]:
    """(prefixes, rest) of a name: "module.model.fc.bias" -> ("module.model.", "fc.bias")."""
    rest = name
    while prefix := next((p for p in PREFIXES + AVERAGED_PREFIXES if rest.startswith(p)), ""):
        rest = rest[len(prefix) :]
    return name[: len(name) - len(rest)], rest


def _split(path: Any, container: tuple[str, ...], table: dict[str, Any]) -> list[StateDict]:
    """One mapping as candidates: its plain weights, and its averaged ones where it holds both."""
    where = f" under {'.'.join(container)!r}" if container else ""
    groups: dict[str, dict[str, tuple[str, TensorRef]]] = {"plain": {}, "attacker": {}, "averaged": {}}
    normalizers: dict[str, list[tuple[str, TensorRef]]] = {"mean": [], "std": []}
    notes: list[str] = []
    weights_averaged = container[:1] != () and container[0] in AVERAGED_CONTAINERS
    for name, value in table.items():
        if not isinstance(name, str) or isinstance(value, Opaque):
            what = f"an unreadable object ({value.name})" if isinstance(value, Opaque) else "no text as its name"
            raise ModelMismatchError(f"{path}: entry {str(name)[:80]!r}{where} has {what}")
        prefix, rest = _strip(name)
        if not isinstance(value, TensorRef):
            notes.append(f"ignored {name[:80]!r}: not a tensor")
        elif rest in NORMALIZERS and np.prod(value.shape) == 3:
            normalizers[NORMALIZERS[rest]].append((name, value))
        elif rest == "n_averaged":  # torch.optim.swa_utils.AveragedModel counts its updates here
            weights_averaged = True
        else:
            averaged = any(p in prefix for p in AVERAGED_PREFIXES)
            group = groups["averaged" if averaged else "attacker" if "attacker." in prefix else "plain"]
            if rest in group:
                both = f"{group[rest][0]!r} and {name!r}"
                raise ModelMismatchError(f"{path}: {both}{where} are both {rest!r} without prefixes; remove one")
            group[rest] = (name, value)
    if groups["plain"]:
        _drop_attacker(path, groups["plain"], groups["attacker"], notes)
    else:
        groups["plain"] = groups["attacker"]
    normalizer = _harvest(path, normalizers, notes)
    clamps = any(name.endswith("new_mean") for name, _ in normalizers["mean"])
    candidates = []
    for kind, group in groups.items():
        if not group or kind == "attacker":
            continue
        prefixes = sorted({name[: len(name) - len(rest)] for rest, (name, _) in group.items()})
        averaged = weights_averaged or kind == "averaged"
        candidates.append(
            StateDict(
                tensors={rest: value for rest, (_, value) in group.items()},
                location=" / ".join(
                    [*filter(None, [".".join(container)]), ", ".join(p or "no prefix" for p in prefixes)]
                ),
                normalizer=normalizer,
                averaged=averaged,
                clamps=clamps,
                notes=(*notes, *(["the weights are an average over training (EMA or SWA)"] if averaged else [])),
                origins={rest: (*container, name) for rest, (name, _) in group.items()},
            )
        )
    return candidates


def _drop_attacker(path: Any, plain: dict[str, Any], attacker: dict[str, Any], notes: list[str]) -> None:
    """The robustness package registers the network twice; the second names are aliases of the same storages."""
    for rest, (name, value) in attacker.items():
        if rest not in plain or not same_tensor(plain[rest][1], value):
            problem = "is not the same tensor as" if rest in plain else "has no counterpart"
            raise ModelMismatchError(f"{path}: {name!r} {problem} {plain[rest][0] if rest in plain else rest!r}")
    if attacker:
        notes.append(f"dropped {len(attacker)} aliases of the same tensors under 'attacker.model.'")


def _harvest(
    path: Any, found: dict[str, list[tuple[str, TensorRef]]], notes: list[str]
) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    if not found["mean"] and not found["std"]:
        return None
    values = []
    for which, entries in found.items():
        # float32's 0.485 is 0.48500001430511475; the shortest decimal that names it is what the author wrote.
        triples = {tuple(float(str(v)) for v in value.numpy().reshape(3)): name for name, value in entries}
        if len(triples) != 1:
            problem = f"disagree: {', '.join(map(repr, triples.values()))}" if triples else "are not there"
            raise ModelMismatchError(
                f"{path}: a wrapper's normalizer is incomplete or double: its {which} values {problem}"
            )
        values.append(next(iter(triples)))
    mean, std = values
    if not np.isfinite([mean, std]).all() or min(std) <= 0:
        raise ModelMismatchError(f"{path}: {found['std'][0][0]!r} holds {std}, mean {mean}: not a normalizer")
    notes.append(f"preprocessing taken from {found['mean'][0][0]!r} and {found['std'][0][0]!r}, which apply no more")
    return mean, std


def _same_tables(a: StateDict, b: StateDict) -> bool:
    return a.tensors.keys() == b.tensors.keys() and all(same_tensor(v, b.tensors[k]) for k, v in a.tensors.items())


def _choices(candidates: list[StateDict]) -> str:
    return ", ".join(f"{c.location or 'raw'!r} ({len(c.tensors)} tensors)" for c in candidates)


def _describe(tree: Any) -> str:
    if isinstance(tree, dict):
        return "the keys " + ", ".join(repr(key)[:40] for key in list(tree)[:10]) if tree else "an empty dict"
    return f"a {type(tree).__name__}"
