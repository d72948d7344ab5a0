"""What a rule file says about one family of networks: how torch names differ from Flax paths, and what marks it.

Flax modules are named after torch's, so the universal rule is nearly everything: `/` becomes `.`, `_3` becomes `.3`,
and the leaves are `kernel|scale -> weight`, `bias -> bias`, `mean -> running_mean`, `var -> running_var`.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

Shapes: TypeAlias = Mapping[str, tuple[int, ...]]
"""Torch name -> shape."""

LEAVES = {"kernel": "weight", "scale": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var"}


@dataclass(frozen=True)
class Family:
    """One rule file.

    `markers` are the keys that every member has, `absent` those that none has; `describe` reads from the shapes the
    attributes of the Flax module that tell its members apart. `renames` turn the universal torch name into the
    published one, `aliases` older spellings into the published one; both are (pattern, replacement) of `re.sub`.
    Where a network `can_lack_head`, a file without one, nor any other linear layer, is of the family all the same.
    `unread` are beginnings of names that published files have and no classification reads: second heads, a stage made twice.
    `bgr` is the kernel of the convolution that sees the image, where that one was trained on blue, green and red.
    """

    title: str
    markers: tuple[str, ...]
    head: str
    describe: Callable[[Shapes], dict[str, Any]]
    absent: tuple[str, ...] = ()
    renames: tuple[tuple[str, str], ...] = ()
    aliases: tuple[tuple[str, str], ...] = ()
    can_lack_head: bool = False
    unread: tuple[str, ...] = ()
    bgr: str | None = None

    def torch_name(self, path: str) -> str:
        """`params/layer1_0/conv1/kernel` -> `layer1.0.conv1.weight`."""
        _, *modules, leaf = path.split("/")
        module = re.sub(r"_(?=\d)", ".", ".".join(modules))
        return f"{_substitute(module, self.renames)}.{LEAVES[leaf]}"

    def published_name(self, name: str) -> str:
        """The name that today's file would have for a tensor of an older one."""
        return _substitute(name, self.aliases)

    def is_unread(self, name: str) -> bool:
        """Whether a tensor of that published name is of a part that no classification reads."""
        return name.startswith(self.unread)

    def matches(self, shapes: Shapes) -> bool:
        """Whether the file has every marker, under any spelling, and nothing that rules the family out."""
        names = {self.published_name(name) for name in shapes}
        missing = [name for name in self.markers if name not in names]
        if missing and not all(name.startswith(f"{self.head}.") for name in missing):
            return False
        return names.isdisjoint(self.absent) and (not missing or self.lacks_head(shapes))

    def lacks_head(self, shapes: Shapes) -> bool:
        """Whether a file of this family is one of a network without its last layer, such as an encoder's."""
        published = {self.published_name(name): shape for name, shape in shapes.items()}
        read = {name: shape for name, shape in published.items() if not self.is_unread(name)}
        return (
            self.can_lack_head
            and all(len(shape) != 2 for shape in read.values())
            and not any(name.startswith(f"{self.head}.") for name in read)
        )


def _substitute(name: str, rules: tuple[tuple[str, str], ...]) -> str:
    for pattern, replacement in rules:
        name = re.sub(pattern, replacement, name)
    return name


def count_children(shapes: Shapes, module: str) -> int:
    """The number of different indices i in `<module>.i.`, the length of a torch Sequential or ModuleList."""
    prefix = module + "."
    return len({name[len(prefix) :].split(".", 1)[0] for name in shapes if name.startswith(prefix)})


def axis(shapes: Shapes, name: str, index: int) -> int:
    """One length of one tensor; 0, which no network has, where the file lacks it."""
    shape = shapes.get(name, ())
    return shape[index] if index < len(shape) else 0
