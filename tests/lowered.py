"""Programs lowered for a platform that is not here, as StableHLO, and what they consist of.

JAX lowers for any platform anywhere (`jax.stages.Traced.lower`); only compiling needs the platform's own compiler.
"""

import re
from collections import Counter
from collections.abc import Iterator
from functools import cached_property
from typing import Any, NamedTuple

import jax


class Operation(NamedTuple):
    """An operation with the names of those that it is inside of, outermost first; what is called is inside of its caller."""

    raw: Any
    inside: tuple[str, ...]

    @property
    def name(self) -> str:
        """As "stablehlo.add"."""
        return str(self.raw.name)

    @property
    def results(self) -> list[str]:
        """Its results' element types, as "bf16"."""
        return [str(result.type.element_type) for result in self.raw.results]

    @property
    def operands(self) -> list[str]:
        """Its operands' element types."""
        return [str(operand.type.element_type) for operand in self.raw.operands]

    def integers(self, attribute: str) -> list[int]:
        """The numbers in an attribute."""
        return [int(number) for number in re.findall(r"\d+", str(self.raw.attributes[attribute]).split(":")[-1])]

    def integer(self, attribute: str) -> int:
        """An attribute that is one number."""
        return int(str(self.raw.attributes[attribute]).split(":")[0])


class Module:
    """A lowered program."""

    def __init__(self, traced: jax.stages.Traced, platform: str) -> None:
        self.module = traced.lower(lowering_platforms=(platform,)).compiler_ir()
        functions = [operation.operation for operation in self.module.body.operations]
        self._functions = {str(f.attributes["sym_name"]).strip('"'): f for f in functions if "sym_name" in f.attributes}

    @property
    def main(self) -> Any:
        """The function that is called."""
        return self._functions["main"]

    @cached_property
    def operations(self) -> list[Operation]:
        """All that `main` comes to, once per place it is called from; a loop's body once."""
        return list(self._within(self.main, ()))

    def _within(self, raw: Any, inside: tuple[str, ...]) -> Iterator[Operation]:
        for region in raw.regions:
            for block in region.blocks:
                for operation in block.operations:
                    found = operation.operation
                    yield Operation(found, inside)
                    deeper = (*inside, str(found.name))
                    yield from self._within(found, deeper)
                    if found.name == "func.call":
                        yield from self._within(self._functions[str(found.attributes["callee"]).strip("@")], deeper)

    def all(self, name: str) -> list[Operation]:
        """The operations of that name, as "convolution"."""
        return [operation for operation in self.operations if operation.name == f"stablehlo.{name}"]

    @cached_property
    def counts(self) -> Counter[str]:
        """How many operations there are of each name."""
        return Counter(operation.name.removeprefix("stablehlo.") for operation in self.operations)

    @property
    def arguments(self) -> list[str]:
        """What is said of each argument besides its type: "" or, as a dictionary of MLIR's, that it is donated."""
        return [str(attributes) for attributes in self.main.attributes["arg_attrs"]]

    @property
    def outputs(self) -> set[str]:
        """The element types of what `main` returns."""
        (block,) = self.main.regions[0].blocks
        *_, last = block.operations
        return {str(operand.type.element_type) for operand in last.operation.operands}
