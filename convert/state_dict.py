"""Chooses the one state dict in a checkpoint's tree, and undoes what wrappers did to its names.

DataParallel, torch.compile, FSDP, the robustness package and RobustBench put prefixes before every name and a normalizer
beside the network. Whatever is not plainly one choice is an error that says between what to choose; what is left out is said.
"""

import hashlib
import re
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from jinv.errors import ModelMismatchError, UsageError, nearest, shorten
from jinv_convert.families.rules import is_known
from jinv_convert.reader import Checkpoint, TensorRef, UnreadTensor
from jinv_convert.reader.types import Opaque
from jinv_convert.tables import AVERAGED_CONTAINERS, NAME, SHOWN, Table, find_tables

PREFIXES = ("module.", "_orig_mod.", "attacker.model.", "model.", "backbone.")
AVERAGED_PREFIXES = ("model_ema.", "ema_model.", "ema.")
INSIDE = ("_fsdp_wrapped_module.", "_checkpoint_wrapped_module.", "_orig_mod.", "_fpw_module.")
"""What wrappers put into names wherever they wrapped a part of the network."""
NORMALIZERS = {
    name: which
    for which, names in (("mean", "new_mean mean mu _mean image_mean"), ("std", "new_std std sigma _std image_std"))
    for name in names.split()
}
"""What wrappers call their preprocessing: robustness (new_mean), RobustBench (normalize.mean), bare (mu), by hand (0.mean)."""
METRICS = re.compile(
    r"(criterion|loss(_f(n|unc))?|metrics?|accuracy|((train|valid?|test)_?)?(acc|accuracy|loss|metrics?|auroc|f1)\w*)\."
)
"""Modules that count or compare beside a network, whose tensors training frameworks save with it."""
MAX_STRIPPED = 8


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


def select_state_dict(checkpoint: Checkpoint, select: str | None = None, strip: str | None = None) -> StateDict:
    """The state dict of `checkpoint`; `select` (a container key, prefix or location) answers an ambiguity.

    `strip` is a prefix of names: those that have it are taken, without it. Else one prefix that all names share is left
    out where the network is known without it.

    Raises:
      ModelMismatchError: none or several, two keys equal after stripping, normalizers that disagree, a tensor that
        could not be read.
      UsageError: a file that jinv has converted already, a prefix that no name has.
    """
    path = checkpoint.path
    if "jinv_format" in checkpoint.metadata:
        raise UsageError(f"{path}: already converted by jinv; give the checkpoint that it came from")
    tables = find_tables(checkpoint)
    split = _Splitter(path, strip)
    found = [candidate for table in tables.meant for candidate in split(table)]
    if select is not None:
        found += [candidate for table in tables.beside for candidate in split(table)]
        wanted = [c for c in found if select in (c.location, *c.location.split(" / "), "ema" if c.averaged else "raw")]
        if len(wanted) != 1:
            several = (
                f"could be {len(wanted)} of" if wanted else f"is none of{nearest(select, (c.location for c in found))}"
            )
            raise ModelMismatchError(
                f"{path}: --select {shorten(select, NAME)!r} {several}: {_choices(wanted or found)}"
            )
        return _known_by(wanted[0])
    # Of what lies beside, other weights of the same network are a choice to be asked about, all else is left.
    names = {frozenset(candidate.tensors) for candidate in found}
    left = []
    for table in tables.beside:
        if _plain_names(table) in names:
            found += split(table)
        else:
            left.append(table)
    distinct = _distinct(found)
    if len(distinct) > 1:
        raise ModelMismatchError(f"{path}: several sets of weights; choose with --select: {_choices(distinct)}")
    if not distinct:
        raise ModelMismatchError(f"{path}: no state dict in it, only tensors of metrics and preprocessing")
    (chosen,) = distinct
    if left:
        chosen = replace(chosen, notes=(*chosen.notes, f"left alone, beside the weights: {_told(left)}"))
    return _known_by(chosen)


def _told(tables: list[Table]) -> str:
    """Some of the tensors of these tables, by name."""
    names = [
        ".".join((*table.keys, str(name)))
        for table in tables
        for name, value in table.entries.items()
        if isinstance(value, TensorRef | UnreadTensor)
    ]
    more = f" and {len(names) - SHOWN} more" if names[SHOWN:] else ""
    return ", ".join(repr(shorten(name, 60)) for name in names[:SHOWN]) + more


def _plain_names(table: Table) -> frozenset[str]:
    return frozenset(
        _strip(name)[1]
        for name, value in table.entries.items()
        if isinstance(name, str) and isinstance(value, TensorRef)
    )


def _distinct(found: list[StateDict]) -> list[StateDict]:
    """The first of each set of weights that have the same names and bits."""
    digests: dict[Any, str] = {}
    kept: dict[Any, StateDict] = {}
    by_names: dict[Any, list[StateDict]] = {}
    for candidate in found:
        by_names.setdefault(frozenset(candidate.tensors), []).append(candidate)
    for candidates in by_names.values():
        for candidate in candidates:
            # Bits are read only where there is something to compare them with.
            bits = (
                tuple(_digest(ref, digests) for _, ref in sorted(candidate.tensors.items())) if candidates[1:] else ()
            )
            kept.setdefault((frozenset(candidate.tensors), bits), candidate)
    first = {id(candidate) for candidate in kept.values()}
    return [candidate for candidate in found if id(candidate) in first]


def _digest(ref: TensorRef, digests: dict[Any, str]) -> str:
    if ref.view not in digests:
        told = f"{ref.shape} {ref.dtype} ".encode()
        digests[ref.view] = hashlib.sha256(told + ref.numpy().tobytes()).hexdigest()
    return digests[ref.view]


def _known_by(state: StateDict) -> StateDict:
    """The weights without a prefix that all names share, where the network is known without it and not with it."""
    shapes, left_out = {name: ref.shape for name, ref in state.tensors.items()}, ""
    while shapes and not is_known(shapes):
        first = next(iter(shapes)).partition(".")[0] + "."
        if left_out.count(".") == MAX_STRIPPED or not all(name.startswith(first) and name != first for name in shapes):
            return state
        shapes, left_out = {name[len(first) :]: shape for name, shape in shapes.items()}, left_out + first
    if not left_out:
        return state
    cut = len(left_out)
    return replace(
        state,
        tensors={name[cut:]: ref for name, ref in state.tensors.items()},
        origins={name[cut:]: keys for name, keys in state.origins.items()},
        notes=(*state.notes, f"the prefix {shorten(left_out, NAME)!r} of every name was left out"),
    )


def same_tensor(a: TensorRef, b: TensorRef) -> bool:
    """Whether two tensors are the same elements of the same storage, or at least have the same bits."""
    if a.view == b.view:
        return True
    return (a.shape, a.dtype) == (b.shape, b.dtype) and a.numpy().tobytes() == b.numpy().tobytes()


def _strip(name: str) -> tuple[str, str]:
    """(prefixes, rest) of a name: "module.model.fc.bias" -> ("module.model.", "fc.bias")."""
    rest = name
    while prefix := next((p for p in PREFIXES + AVERAGED_PREFIXES if rest.startswith(p)), ""):
        rest = rest[len(prefix) :]
    prefix = name[: len(name) - len(rest)]
    for wrapper in INSIDE:
        rest = rest.replace(wrapper, "")
    return prefix, rest


def _normalizer_of(rest: str, value: TensorRef) -> str | None:
    """ "mean" or "std" where a tensor is a wrapper's: three values, under a module that is in front of the network."""
    *modules, leaf = rest.split(".")
    return NORMALIZERS.get(leaf) if len(modules) <= 2 and np.prod(value.shape) == 3 else None


@dataclass(frozen=True)
class _Splitter:
    """Takes a table of a file apart."""

    path: str
    strip: str | None = None

    def __call__(self, table: Table) -> list[StateDict]:
        """One mapping as candidates: its plain weights, and its averaged ones where it holds both."""
        path, container = self.path, table.keys
        where = f" under {shorten('.'.join(container), NAME)!r}" if container else ""
        groups: dict[str, dict[str, tuple[str, TensorRef]]] = {"plain": {}, "attacker": {}, "averaged": {}}
        prefixes: dict[str, set[str]] = {kind: set() for kind in groups}
        normalizers: dict[str, list[tuple[str, TensorRef]]] = {"mean": [], "std": []}
        ignored: list[str] = []
        counted: list[str] = []
        weights_averaged = any(key in AVERAGED_CONTAINERS for key in container)
        for name, value in self._stripped(table, where).items():
            if not isinstance(name, str) or isinstance(value, Opaque):
                raise ModelMismatchError(f"{path}: entry {shorten(str(name), 80)!r}{where} has {_unreadable(value)}")
            prefix, rest = _strip(name)
            if not isinstance(value, TensorRef):
                ignored.append(name)
            elif which := _normalizer_of(rest, value):
                normalizers[which].append((name, value))
            elif rest == "n_averaged":  # torch.optim.swa_utils.AveragedModel counts its updates here
                weights_averaged = True
            elif METRICS.match(rest):
                counted.append(name)
            else:
                averaged = any(p in prefix for p in AVERAGED_PREFIXES)
                kind = "averaged" if averaged else "attacker" if "attacker." in prefix else "plain"
                group = groups[kind]
                if rest in group:
                    both = f"{shorten(group[rest][0], 80)!r} and {shorten(name, 80)!r}"
                    raise ModelMismatchError(
                        f"{path}: {both}{where} are both {shorten(rest, 80)!r} without prefixes; remove one"
                    )
                group[rest] = (name, value)
                prefixes[kind].add(prefix)
        notes = self._notes(table, ignored, counted)
        if groups["plain"]:
            _drop_attacker(path, groups["plain"], groups["attacker"], notes)
        else:
            groups["plain"], prefixes["plain"] = groups["attacker"], prefixes["attacker"]
        normalizer = _harvest(path, normalizers, notes)
        clamps = any(name.endswith("new_mean") for name, _ in normalizers["mean"])
        candidates = []
        for kind, group in groups.items():
            if not group or kind == "attacker":
                continue
            averaged = weights_averaged or kind == "averaged"
            told = ["the weights are an average over training (EMA or SWA)"] if averaged else []
            candidates.append(
                StateDict(
                    tensors={rest: value for rest, (_, value) in group.items()},
                    location=_location(container, prefixes[kind]),
                    normalizer=normalizer,
                    averaged=averaged,
                    clamps=clamps,
                    notes=(*notes, *told),
                    origins={rest: (*container, (self.strip or "") + name) for rest, (name, _) in group.items()},
                )
            )
        return candidates

    def _notes(self, table: Table, ignored: list[str], counted: list[str]) -> list[str]:
        notes = [f"ignored {shorten(name, 80)!r}: not a tensor" for name in ignored[:SHOWN]]
        if ignored[SHOWN:]:
            notes.append(f"ignored {len(ignored) - SHOWN} more entries that are no tensors")
        if self.strip is not None:
            others = sum(not (isinstance(n, str) and n.startswith(self.strip)) for n in table.entries)
            notes.append(
                f"took what begins with {shorten(self.strip, NAME)!r}, without that; left out {others} other entries"
            )
        if counted:
            notes.append(f"ignored {len(counted)} tensors of metrics or losses, such as {shorten(counted[0], 80)!r}")
        return notes

    def _stripped(self, table: Table, where: str) -> dict[Any, Any]:
        """The entries under the prefix that was asked for, without it; all where none was."""
        if self.strip is None:
            return table.entries
        taken = {
            name[len(self.strip) :]: value
            for name, value in table.entries.items()
            if isinstance(name, str) and name.startswith(self.strip) and name != self.strip
        }
        if not taken:
            firsts = {name.partition(".")[0] + "." for name in table.entries if isinstance(name, str)}
            raise UsageError(
                f"--strip {shorten(self.strip, NAME)!r}: no name{where} begins so{nearest(self.strip, firsts)}"
            )
        return taken


def _location(container: tuple[str, ...], prefixes: set[str]) -> str:
    places = ", ".join(prefix or "no prefix" for prefix in sorted(prefixes))
    return " / ".join([*filter(None, [".".join(container)]), places])


def _unreadable(value: Any) -> str:
    if isinstance(value, UnreadTensor):
        return f"{value.name}, which is not read"
    return f"an unreadable object ({shorten(value.name, NAME)})" if isinstance(value, Opaque) else "no text as its name"


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


def _choices(candidates: list[StateDict]) -> str:
    told = [f"{shorten(c.location or 'raw', 60)!r} ({len(c.tensors)} tensors)" for c in candidates[:SHOWN]]
    return ", ".join(told) + (f" and {len(candidates) - SHOWN} more" if candidates[SHOWN:] else "")
