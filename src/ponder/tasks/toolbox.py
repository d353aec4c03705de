"""tasks/toolbox: the tools that problems come with, fresh for each episode; none of them reaches outside."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ponder.core.errors import ToolError
from ponder.core.types import ToolSpec
from ponder.tasks.interpreter import Machine
from ponder.verify.rational import RationalError, evaluate

BUSY = "busy, try again"
DESCRIPTIONS = {
    "calc": "works out numbers with + - * / ( )",
    "run": "runs a program and gives what it shows",
    "price": "price of one item",
    "stock": "how many there are of an item",
    "age": "age of a person",
    "town": "town of a person",
    "distance": "miles to a town",
}
KEYS = {
    "calc": "text", "run": "program", "price": "item", "stock": "item", "age": "name", "town": "name",
    "distance": "town",
}  # fmt: skip
"""The one argument of each tool."""


@dataclass(slots=True)
class Faults:
    """Which calls of an episode, counted over all its tools from 0, find their tool busy."""

    busy: frozenset[int] = frozenset()
    calls: int = 0

    def count(self) -> None:
        """One more call. Raises ToolError when it is a busy one."""
        self.calls += 1
        if self.calls - 1 in self.busy:
            raise ToolError(BUSY)


@dataclass(frozen=True, slots=True)
class TaskTool:
    """A tool over checked arguments: each key of the specification once, of its type."""

    spec: ToolSpec
    work: Callable[..., str]
    faults: Faults

    def call(self, arguments: Mapping[str, Any]) -> str:
        """The result. Raises ToolError for arguments that are not those of the specification, and from the work."""
        self.faults.count()
        kinds: Mapping[str, Mapping[str, str]] = self.spec.parameters["properties"]
        if set(arguments) != set(kinds):
            raise ToolError(f"{self.spec.name} wants {', '.join(kinds)}")
        for key, kind in kinds.items():
            value = arguments[key]
            if kind["type"] == "string" and not (isinstance(value, str) and len(value) <= 4000):
                raise ToolError(f"{key} must be a text")
            if kind["type"] == "integer" and (type(value) is not int or abs(value) > 10**12):
                raise ToolError(f"{key} must be a whole number")
        return self.work(*(arguments[key] for key in kinds))


def specification(name: str, description: str, keys: Mapping[str, str]) -> ToolSpec:
    """A tool of required arguments; `keys` gives each one's JSON type."""
    properties = {key: {"type": kind} for key, kind in keys.items()}
    schema = {"type": "object", "properties": properties, "required": list(keys)}
    return ToolSpec(name, description, schema | {"additionalProperties": False})


SPECS = {name: specification(name, DESCRIPTIONS[name], {KEYS[name]: "string"}) for name in KEYS}


def calculate(text: str) -> str:
    """The exact value, `7/2` where it is not whole. Raises ToolError."""
    try:
        return str(evaluate(text))
    except RationalError as error:
        raise ToolError(str(error)) from None


def known_tool(name: str, book: Mapping[str, Mapping[str, str]], faults: Faults) -> TaskTool:
    """`calc`, `run` with variables that last for the episode, or a look-up in `book[name]`."""
    if name == "calc":
        return TaskTool(SPECS[name], calculate, faults)
    if name == "run":
        return TaskTool(SPECS[name], Machine().run, faults)

    def look_up(key: str) -> str:
        if key not in book[name]:
            raise ToolError(f"no {KEYS[name]} {key[:40]!r}")
        return book[name][key]

    return TaskTool(SPECS[name], look_up, faults)


RULES: dict[str, Callable[[int, int, int], int]] = {
    "a*k+b": lambda a, b, k: a * k + b,
    "a*b+k": lambda a, b, k: a * b + k,
    "a+b*k": lambda a, b, k: a + b * k,
    "(a+b)*k": lambda a, b, k: (a + b) * k,
    "a-b+k": lambda a, b, k: a - b + k,
    "max(a,b)+k": lambda a, b, k: max(a, b) + k,
}
"""What an invented function works out; the model sees none of it."""


def invented_tool(name: str, rule: str, k: int, faults: Faults) -> TaskTool:
    """A function of two numbers that only calling tells."""
    spec = specification(name, "a function of two numbers", {"a": "integer", "b": "integer"})

    def work(a: int, b: int) -> str:
        return str(RULES[rule](a, b, k))

    return TaskTool(spec, work, faults)
