"""A pickle virtual machine that can build dicts, lists, tuples, numbers, strings and descriptions of tensors.

It knows the opcodes that protocols 2 to 5 write, and Python 2's integers in text, refuses all others, and has no way to import or call a name of the
file. Every length is checked against what is left of the file before it is read. Any defect of the stream raises
`UnsafeInputError`, and nothing else.
"""

from __future__ import annotations

import itertools
import re
import struct
from collections.abc import Callable, Mapping
from typing import Any

from jinv.errors import ModelMismatchError
from jinv_convert.reader import limits
from jinv_convert.reader.globals import asks_for_danger, dangerous, resolve
from jinv_convert.reader.numpy_pickle import NumpyArray
from jinv_convert.reader.pickle_stack import PickleStack
from jinv_convert.reader.rebuild import Known, Malformed, NumpyDtype, StorageView, check_parameter_state, set_item
from jinv_convert.reader.source import Cursor
from jinv_convert.reader.types import Opaque, TensorRef, UnreadTensor

# Attributes that change what an object is or does; no state of a checkpoint sets them.
_POISON = frozenset(
    f"__{name}__"
    for name in (
        *("class", "dict", "setstate", "getstate", "reduce", "reduce_ex", "getattribute", "getattr", "setattr"),
        *("bases", "mro", "subclasses", "init", "new", "call", "del", "globals", "code", "builtins"),
    )
)


class PickleMachine(PickleStack):
    """Runs one pickle; `persistent` turns a persistent id into a `StorageView`, `opaque` collects inert names.

    `names` are some that mean more in this pickle than `globals` says.
    """

    def __init__(
        self,
        cursor: Cursor,
        opaque: dict[str, None],
        persistent: Callable[[Any], Any] | None = None,
        names: Mapping[tuple[str, str], Opaque] | None = None,
    ) -> None:
        super().__init__(cursor)
        self.opaque, self.persistent, self.names = opaque, persistent, names or {}

    def load(self) -> Any:
        """The value that the pickle stands for; leaves the cursor behind its STOP."""
        cursor, table = self.cursor, _OPCODES
        if cursor.take(1) != b"\x80":
            raise cursor.refuse("not a pickle of protocol 2 to 5")
        protocol = cursor.take(1)[0]
        if not 2 <= protocol <= 5:
            raise cursor.refuse(f"pickle protocol {protocol}, not 2 to 5")
        try:
            for _ in range(limits.MAX_OPS):
                code = cursor.take(1)
                if code == b".":
                    break
                if (method := table.get(code[0])) is None:
                    what = _REFUSED.get(code[0], f"0x{code[0]:02x}")
                    raise cursor.refuse(f"pickle opcode {what} is not allowed")
                method(self)
            else:
                raise cursor.refuse(f"more than {limits.MAX_OPS} pickle opcodes")
            cursor.require_no_frame()
            if self.marks or len(self.stack) != 1:
                raise cursor.refuse(f"the pickle ends with {len(self.stack)} values on the stack, not 1")
        except Malformed as error:
            raise cursor.refuse(str(error)) from None
        except ModelMismatchError as error:
            raise ModelMismatchError(str(cursor.refuse(str(error)))) from None
        return self.stack.pop()

    # Values.

    def integer(self, layout: struct.Struct) -> None:
        self.push(int.from_bytes(self.raw(layout, limits.MAX_INT_BYTES), "little", signed=True))

    def text_integer(self) -> None:
        """An integer in text, as Python 2 wrote wide ones, and booleans as 00 and 01."""
        digits = self.cursor.line(limits.MAX_INT_CHARS)
        if not re.fullmatch(rb"[+-]?[0-9]+L?", digits):
            raise Malformed(f"an integer that is none: {digits!r:.80}")
        self.push({b"00": False, b"01": True}.get(digits, int(digits.rstrip(b"L"))))

    def python2_string(self, layout: struct.Struct) -> None:
        data = self.raw(layout)
        try:
            self.push(data.decode("utf-8"))
        except UnicodeDecodeError:
            self.push(data)

    def tuple_of(self, count: int) -> None:
        values = [self.pop() for _ in range(count)]
        self.push(tuple(reversed(values)))

    def append(self, values: list[Any]) -> None:
        target = self.top()
        if isinstance(target, list):
            target.extend(values)
        elif type(target) is not Opaque:
            raise Malformed(f"APPEND to {_kind(target)}")

    def set_items(self, values: list[Any]) -> None:
        target = self.top()
        if len(values) % 2:
            raise Malformed("an odd number of keys and values")
        if isinstance(target, dict):
            for key, value in zip(values[::2], values[1::2], strict=True):
                set_item(target, key, value)
        elif type(target) is not Opaque:
            raise Malformed(f"SETITEM on {_kind(target)}")

    def set_one(self) -> None:
        value = self.pop()
        self.set_items([self.pop(), value])

    def add_items(self) -> None:
        self.pop_mark()
        if type(self.top()) is not Opaque:
            raise Malformed(f"ADDITEMS to {_kind(self.top())}")

    def frozen_set(self) -> None:
        self.pop_mark()
        self.push(Opaque("builtins.frozenset"))

    def drop(self) -> None:
        # As in pickle, POP right behind a mark takes the mark away.
        if self.marks and self.marks[-1] == len(self.stack):
            self.marks.pop()
        else:
            self.pop()

    # Names, and what is built from them.

    def name(self, module: str, name: str) -> None:
        if not module or not name or max(len(module), len(name)) > limits.MAX_NAME_CHARS:
            raise Malformed(f"a name that is empty or has more than {limits.MAX_NAME_CHARS} characters")
        if not (module + name).isprintable():
            raise Malformed("a name of unprintable characters")
        if dangerous(module, name):
            raise Malformed(f"names {module}.{name}, which can run code: nothing was run, and the file is refused")
        value = self.names.get((module, name)) or resolve(module, name)
        self._note(value)
        self.push(value)

    def global_name(self) -> None:
        parts = [self.cursor.line(limits.MAX_NAME_CHARS) for _ in range(2)]
        try:
            self.name(*(part.decode("utf-8") for part in parts))
        except UnicodeDecodeError:
            raise Malformed("a name that is not UTF-8") from None

    def stack_global(self) -> None:
        name, module = self.pop(), self.pop()
        if not isinstance(name, str) or not isinstance(module, str):
            raise Malformed("a name that is no string")
        self.name(module, name)

    def reduce(self) -> None:
        args, function = self.pop(), self.pop()
        if not isinstance(args, tuple):
            raise Malformed("REDUCE with arguments that are no tuple")
        if isinstance(function, Known) and function.call is not None:
            self.charge(args)
            result = function.call(args)
            self._note(result)
            self.push(result)
        elif type(function) is Opaque:
            if asks_for_danger(function, args):
                raise Malformed(f"{function.name} looks up a name that can run code: nothing was run")
            self.push(Opaque(function.name))
        else:
            raise Malformed(f"REDUCE of {_kind(function)}")

    def build(self) -> None:
        state, target = self.pop(), self.top()
        # Python looks at two parts, the attributes of __dict__ and of __slots__. The names are looked up in the state, not
        # the state's in them: the same large state can be built again and again.
        for part in itertools.islice(state, 2) if isinstance(state, tuple) else (state,):
            if isinstance(part, dict) and (poison := [name for name in _POISON if name in part]):
                raise Malformed(f"BUILD sets {min(poison)} on {_kind(target)}")
        if isinstance(target, NumpyDtype | NumpyArray):
            target.build(state)
        elif isinstance(target, TensorRef):
            check_parameter_state(state)
        # An OrderedDict's own attributes (torch keeps module versions there) are not needed.
        elif not (type(target) in (Opaque, UnreadTensor) or (isinstance(target, dict) and isinstance(state, dict))):
            raise Malformed(f"BUILD on {_kind(target)}")

    def persistent_id(self) -> None:
        if self.persistent is None:
            raise Malformed("a persistent id where none can be")
        self.push(self.persistent(self.pop()))

    def frame(self) -> None:
        self.cursor.enter_frame(self.number(_U64))

    def _note(self, value: Any) -> None:
        if type(value) in (Opaque, UnreadTensor):
            self.opaque.setdefault(value.name)


def _kind(value: Any) -> str:
    if isinstance(value, Opaque):
        return value.name
    names = {StorageView: "a storage", TensorRef: "a tensor"}
    return names.get(type(value), f"a {type(value).__name__}")


# Those that a hostile file may well have, by name.
_REFUSED = {0x69: "INST", 0x6F: "OBJ", 0x92: "NEWOBJ_EX", 0x82: "EXT1", 0x83: "EXT2", 0x84: "EXT4", 0x50: "PERSID"}
_U8, _U16, _U32, _U64 = (struct.Struct(code) for code in ("<B", "<H", "<I", "<Q"))
_I32, _F64 = struct.Struct("<i"), struct.Struct(">d")
_M = PickleMachine
_OPCODES: dict[int, Callable[[PickleMachine], None]] = {
    ord(code): method
    for code, method in {
        "N": lambda m: m.push(None),
        "\x88": lambda m: m.push(True),
        "\x89": lambda m: m.push(False),
        "K": lambda m: m.push(m.number(_U8)),
        "M": lambda m: m.push(m.number(_U16)),
        "J": lambda m: m.push(m.number(_I32)),
        "I": _M.text_integer,
        "L": _M.text_integer,
        "\x8a": lambda m: m.integer(_U8),
        "\x8b": lambda m: m.integer(_I32),
        "G": lambda m: m.push(m.number(_F64)),
        "X": lambda m: m.push(m.text(_U32)),
        "\x8c": lambda m: m.push(m.text(_U8)),
        "\x8d": lambda m: m.push(m.text(_U64)),
        "U": lambda m: m.python2_string(_U8),
        "T": lambda m: m.python2_string(_I32),
        "C": lambda m: m.push(m.raw(_U8)),
        "B": lambda m: m.push(m.raw(_U32)),
        "\x8e": lambda m: m.push(m.raw(_U64)),
        "\x96": lambda m: m.push(m.raw(_U64)),
        "(": _M.mark,
        "0": _M.drop,
        "1": _M.pop_mark,
        ")": lambda m: m.push(()),
        "t": lambda m: m.push(tuple(m.pop_mark())),
        "\x85": lambda m: m.tuple_of(1),
        "\x86": lambda m: m.tuple_of(2),
        "\x87": lambda m: m.tuple_of(3),
        "]": lambda m: m.push([]),
        "a": lambda m: m.append([m.pop()]),
        "e": lambda m: m.append(m.pop_mark()),
        "}": lambda m: m.push({}),
        "s": _M.set_one,
        "u": lambda m: m.set_items(m.pop_mark()),
        "\x8f": lambda m: m.push(Opaque("builtins.set")),
        "\x90": _M.add_items,
        "\x91": _M.frozen_set,
        "q": lambda m: m.put(m.number(_U8)),
        "r": lambda m: m.put(m.number(_U32)),
        "\x94": lambda m: m.put(len(m.memo)),
        "h": lambda m: m.get(m.number(_U8)),
        "j": lambda m: m.get(m.number(_U32)),
        "c": _M.global_name,
        "\x93": _M.stack_global,
        "R": _M.reduce,
        "\x81": _M.reduce,
        "b": _M.build,
        "Q": _M.persistent_id,
        "\x95": _M.frame,
    }.items()
}
