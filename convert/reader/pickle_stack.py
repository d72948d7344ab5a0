"""What a pickle machine works on: a stack with marks, a memo, operands out of the file, and counts of what was built."""

from __future__ import annotations

import struct
from typing import Any

from jinv_convert.reader import limits
from jinv_convert.reader.rebuild import Malformed
from jinv_convert.reader.source import Cursor


class PickleStack:
    """Raises `Malformed` for whatever a sound pickle does not do."""

    def __init__(self, cursor: Cursor) -> None:
        self.cursor = cursor
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}
        self.string_bytes = 0
        self.built = 0

    def push(self, value: Any) -> None:
        """Puts a value on the stack."""
        self.stack.append(value)

    def pop(self) -> Any:
        """Takes the top value, not beyond the last mark."""
        if len(self.stack) <= (self.marks[-1] if self.marks else 0):
            raise Malformed("the pickle takes from an empty stack")
        return self.stack.pop()

    def top(self) -> Any:
        """The top value, left where it is."""
        value = self.pop()
        self.stack.append(value)
        return value

    def pop_mark(self) -> list[Any]:
        """Takes everything down to the last mark."""
        if not self.marks:
            raise Malformed("the pickle takes a mark that was not set")
        mark = self.marks.pop()
        values = self.stack[mark:]
        del self.stack[mark:]
        return values

    def mark(self) -> None:
        """Sets a mark."""
        self.marks.append(len(self.stack))

    def number(self, layout: struct.Struct) -> Any:
        """A number of the file."""
        return layout.unpack(self.cursor.take(layout.size))[0]

    def raw(self, layout: struct.Struct, limit: int = limits.MAX_STRING_BYTES) -> bytes:
        """Bytes of the file whose length is before them."""
        length = self.number(layout)
        if not 0 <= length <= limit:
            raise Malformed(f"a length of {length} bytes, the limit is {limit}")
        self.charge_bytes(length)
        return self.cursor.take(length)

    def charge_bytes(self, count: int) -> None:
        """Counts bytes of strings."""
        self.string_bytes += count
        if self.string_bytes > limits.MAX_TOTAL_STRING_BYTES:
            raise Malformed(f"more than {limits.MAX_TOTAL_STRING_BYTES} bytes of strings")

    def charge(self, args: tuple[Any, ...]) -> None:
        """Counts what a call can copy: its arguments' entries and bytes, before it is made."""
        for arg in args:
            if isinstance(arg, str | bytes):
                self.charge_bytes(len(arg))
            elif isinstance(arg, dict | list | tuple):
                self.built += len(arg)
        if self.built > limits.MAX_BUILT:
            raise Malformed(f"calls that copy more than {limits.MAX_BUILT} entries")

    def text(self, layout: struct.Struct) -> str:
        """A string of the file."""
        try:
            return self.raw(layout).decode("utf-8")
        except UnicodeDecodeError:
            raise Malformed("a string that is not UTF-8") from None

    # Memo.

    def put(self, index: int) -> None:
        """Remembers the top value."""
        self.memo[index] = self.top()  # every entry costs an opcode, whose number is bounded

    def get(self, index: int) -> None:
        """Puts a remembered value on the stack."""
        if index not in self.memo:
            raise Malformed(f"memo entry {index} was never set")
        self.push(self.memo[index])
