"""What a disk still has after a power loss: of what was not synced an arbitrary part, each operation for itself.

A file's bytes are safe once it was synced, its name once its directory was. Until then a name may be there without its
bytes, bytes without a name, an old name as well as a new one; what was written may be there in part, or be something else.
A rename happens as a whole or not at all, and is safe once the directory of the new name was synced.
"""

import os
import random
import shutil
from typing import NamedTuple

_open = open  # as it is before a `Disk` is entered


class Node:
    """A file, or a directory with entries: as a process sees them, and as they are safe on the disk."""

    def __init__(self, *, directory: bool = False, link: str | None = None) -> None:
        self.now: dict[str, Node] = {}
        self.safe: dict[str, Node] = {}
        self.directory, self.link = directory, link
        self.data = self.safe_data = b""


class Change(NamedTuple):
    """One operation on names, not synced yet: an entry that comes, one that goes, each in its directory."""

    comes: tuple[Node, str, Node] | None = None
    goes: tuple[Node, str, Node] | None = None

    @property
    def where(self) -> Node:
        """The directory whose sync makes it safe."""
        place = self.comes or self.goes
        assert place is not None
        return place[0]

    def carry_out(self) -> None:
        """On the disk."""
        if self.goes is not None:
            directory, name, node = self.goes
            if directory.safe.get(name) is node:
                del directory.safe[name]
        if self.comes is not None:
            directory, name, node = self.comes
            directory.safe[name] = node


class Journal:
    """Told of every operation under `root` once it has happened; what lies there in the beginning is safe."""

    def __init__(self, root: str) -> None:
        self.root, self.tree = root, _read(root)
        self.pending: list[Change] = []
        self.descriptors: dict[int, Node] = {}

    def opened(self, descriptor: int, path: str) -> None:
        """A file or a directory was opened, and came into being where there was none."""
        directory, name = self._place(path)
        if name and name not in directory.now:
            self._comes(path, Node())
        self.descriptors[descriptor] = directory.now[name] if name else directory

    def written(self, descriptor: int) -> None:
        """The bytes of an open file are others now."""
        with _open(f"/proc/self/fd/{descriptor}", "rb") as file:
            self.descriptors[descriptor].data = file.read()

    def synced(self, descriptor: int) -> None:
        """An open file or directory was synced; with it what had to come first."""
        node = self.descriptors[descriptor]
        node.safe_data = node.data
        if node.directory:
            wanted, later = {node}, []
            for change in reversed(self.pending):
                if change.where in wanted:
                    wanted |= {place[0] for place in change if place is not None}
                else:
                    later.append(change)
            for change in self.pending:
                if change not in later:
                    change.carry_out()
            self.pending = later[::-1]

    def made(self, path: str, link: str | None = None) -> None:
        """A directory or a symbolic link came into being."""
        self._comes(path, Node(directory=link is None, link=link))

    def linked(self, path: str, other: str) -> None:
        """The file at `path` has another name."""
        directory, name = self._place(path)
        self._comes(other, directory.now[name])

    def renamed(self, path: str, other: str) -> None:
        """What was at `path` is at `other`."""
        directory, name = self._place(path)
        node = directory.now.pop(name)
        self._comes(other, node, (directory, name, node))

    def removed(self, path: str) -> None:
        """A file or an empty directory went."""
        directory, name = self._place(path)
        self.pending.append(Change(goes=(directory, name, directory.now.pop(name))))

    def lose(self, seed: int, kept: float | None = None) -> None:
        """The power goes and comes back: of what was not synced each part is `kept` by chance; some seeds keep all, or nothing."""
        draws = random.Random(seed)
        share = draws.choice([0.0, 0.5, 1.0]) if kept is None else kept
        for change in self.pending:
            if draws.random() < share:
                change.carry_out()
        for name in os.listdir(self.root):
            path = os.path.join(self.root, name)
            shutil.rmtree(path) if os.path.isdir(path) and not os.path.islink(path) else os.unlink(path)
        _write(self.root, self.tree, draws)

    def _comes(self, path: str, node: Node, goes: tuple[Node, str, Node] | None = None) -> None:
        directory, name = self._place(path)
        directory.now[name] = node
        self.pending.append(Change((directory, name, node), goes))

    def _place(self, path: str) -> tuple[Node, str]:
        """The directory of a path, and the name in it; of the root itself, and no name."""
        *above, name = os.path.relpath(path, self.root).split(os.sep)
        node = self.tree
        for part in above:
            node = node.now[part]
        return node, "" if name == "." else name


def _read(path: str) -> Node:
    """The tree at a path, safe as it is."""
    if os.path.islink(path):
        return Node(link=os.readlink(path))
    node = Node(directory=os.path.isdir(path))
    if node.directory:
        node.now = {name: _read(os.path.join(path, name)) for name in os.listdir(path)}
        node.safe = dict(node.now)
    else:
        with _open(path, "rb") as file:
            node.data = node.safe_data = file.read()
    return node


def _write(path: str, node: Node, draws: random.Random) -> None:
    """Lay out what is left of a tree."""
    for name, child in node.safe.items():
        where = os.path.join(path, name)
        if child.directory:
            os.mkdir(where)
            _write(where, child, draws)
        elif child.link is not None:
            os.symlink(child.link, where)
        else:
            with _open(where, "wb") as file:
                file.write(_left(child.safe_data, child.data, draws))


def _left(safe: bytes, data: bytes, draws: random.Random) -> bytes:
    """What is left of a file's bytes, of which some were synced."""
    if safe == data:
        return data
    common = len(os.path.commonprefix([safe, data]))
    cut = draws.randint(common, len(data))
    garbage = bytes(len(data) - cut) if draws.random() < 0.5 else draws.randbytes(len(data) - cut)
    return draws.choice([safe, data, data[:cut], data[:cut] + safe[cut:], data[:cut] + garbage])
