"""text/template: one sandboxed Jinja environment with limits; renders as transformers renders, knows no messages.

A chat template is a program from a stranger. It sees plain JSON values only, cannot reach attributes of Python objects,
and is stopped by a step budget (loops, calls, filters) and a size limit (every string it builds). Not stopped: a single
sort or regular operation over values that are already within the size limit.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from contextvars import ContextVar
from datetime import datetime
from typing import Any, cast

import jinja2
from jinja2 import meta, nodes
from jinja2.exceptions import SecurityError
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace

from ponder.core.errors import ModelFolderError, UserError

MAX_TEMPLATE_CHARS = 262_144
"""Longest template source; the longest published ones are near 30,000."""

MAX_RENDERED_CHARS = 16_777_216
"""Longest prompt text, and longest string a template may build on the way."""

MAX_STEPS = 2_000_000
"""Budget of one rendering: a loop round costs 1, a call or filter CALL_STEPS; a thousand messages take some 10,000."""

CALL_STEPS = 16
"""A call takes Python about as long as this many empty loop rounds."""

MAX_BASE, MAX_POWER = 1_000_000, 16
"""Largest operands of `**`."""


class _Meter:
    """Counts the steps of one rendering."""

    def __init__(self) -> None:
        self.left = MAX_STEPS

    def tick(self, steps: int = 1) -> None:
        self.left -= steps
        if self.left < 0:
            raise SecurityError(f"more than {MAX_STEPS} steps")


_meter: ContextVar[_Meter] = ContextVar("ponder_template_meter")


def _check_size(size: int) -> None:
    if size > MAX_RENDERED_CHARS:
        raise SecurityError(f"more than {MAX_RENDERED_CHARS} characters")


def _charge(args: Iterable[Any]) -> None:
    """Count one use of a function or filter, and more for long values."""
    sizes = [len(cast(Sized, arg)) for arg in args if isinstance(arg, str | list | tuple | dict)]
    _meter.get().tick(CALL_STEPS + (sum(sizes) >> 10))


_WIDENING = frozenset(
    ["center", "ljust", "rjust", "zfill", "batch", "slice", "wordwrap", "truncate", "round"]
)


def _check_growth(name: str, value: Any, args: Sequence[Any]) -> None:
    """Refuse, before it runs, a text function whose result could be far longer than what it is given."""
    numbers = [int(arg) for arg in args if isinstance(arg, int)]
    if name in _WIDENING or name in ("indent", "expandtabs"):
        marks = value.count("\n") + value.count("\t") + 1 if isinstance(value, str) else 1
        _check_size(max(numbers, default=8) * (1 if name in _WIDENING else marks))
    elif name == "replace" and isinstance(value, str) and len(args) >= 2:
        _check_size(len(value) + value.count(str(args[0])) * len(str(args[1])))
    elif name == "join":
        separator, items = (args[0], value) if not isinstance(value, str) else (value, args[0])
        _check_size(len(str(separator)) * len(items) if isinstance(items, Sized) else 0)
    elif name in ("format", "format_map") and isinstance(value, str):
        _check_format(value)


def _check_format(text: str) -> None:
    if match := re.search(r"\d{6,}|%[-+ #0]*\*|\{[^}]*\{", text):
        raise SecurityError(f"the width {match.group()!r} in a format")


def _metered(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    skip = 1 if hasattr(function, "jinja_pass_arg") else 0

    @functools.wraps(function)
    def filtered(*args: Any, **kwargs: Any) -> Any:
        given = [*args[skip + 1 :], *kwargs.values()]
        _charge([args[skip], *given])
        _check_growth(name, args[skip], given or [""])
        result = function(*args, **kwargs)
        if isinstance(result, str):
            _check_size(len(result))
        return result

    return filtered


def _rounds(items: Iterable[Any]) -> Iterator[Any]:
    meter = _meter.get()
    for item in items:
        meter.tick()
        yield item


def _concat(parts: list[Any]) -> str:
    texts = [str(part) for part in parts]
    _check_size(sum(map(len, texts)))
    return "".join(texts)


def _tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """Plain JSON, as transformers defines the filter; Jinja's own escapes HTML and sorts keys."""
    return json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )


def _raise_exception(message: str) -> None:
    raise jinja2.TemplateError(message)


def _strftime_now(format: str) -> str:
    return datetime.now().strftime(format)


def _dict(*args: Any, **kwargs: Any) -> dict[Any, Any]:
    return dict(*args, **kwargs)


class _SafeNamespace(Namespace):
    """Jinja's namespace without underscore names, which would reach Python's internals."""

    def __init__(*args: Any, **kwargs: Any) -> None:
        self, rest = args[0], args[1:]
        for name in (attributes := dict(*rest, **kwargs)):
            _check_name(name)
        Namespace.__init__(self, attributes)

    def __setitem__(self, name: str, value: Any) -> None:
        _check_name(name)
        super().__setitem__(name, value)


def _check_name(name: object) -> None:
    if isinstance(name, str) and name.startswith("_"):
        raise SecurityError(f"a namespace attribute that starts with an underscore: {name!r}")


class _GenerationTag(Extension):
    """`{% generation %}` marks the assistant's part for training masks; here it only encloses."""

    tags = {"generation"}  # noqa: RUF012 – as Jinja declares it

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.Scope(body, lineno=line)


class _ChatEnvironment(ImmutableSandboxedEnvironment):
    """The sandbox, with every loop, call, filter, concatenation and growing operator under the meter."""

    intercepted_binops = frozenset(["+", "*", "**", "%"])

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        tree = super()._parse(source, name, filename)
        for loop in list(tree.find_all(nodes.For)):
            loop.iter = nodes.Filter(loop.iter, "_rounds", [], [], None, None, lineno=loop.lineno)
        _join_concats(tree)
        return tree

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        _meter.get().tick()
        long = [len(cast(Sized, x)) for x in (left, right) if isinstance(x, str | list | tuple)]
        if operator == "+":
            _check_size(sum(long))
        elif operator == "*" and long:
            other = right if isinstance(left, str | list | tuple) else left
            _check_size(long[0] * other if isinstance(other, int) else 0)
        elif operator == "%" and isinstance(left, str):
            _check_format(left)
        elif operator == "**" and not (abs(left) <= MAX_BASE and abs(right) <= MAX_POWER):
            raise SecurityError(f"{left!r} to the power {right!r}")
        return super().call_binop(context, operator, left, right)

    def call(self, context: Any, obj: Any, *args: Any, **kwargs: Any) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        given = [*args, *kwargs.values()]
        _charge(given)
        method = getattr(obj, "__wrapped__", obj)
        owner = getattr(method, "__self__", None)
        if isinstance(owner, str):
            _check_growth(method.__name__, owner, given or [""])
        result = super().call(context, obj, *args, **kwargs)
        if isinstance(result, str):
            _check_size(len(result))
        return result


def _join_concats(tree: nodes.Node) -> None:
    """Turn every `a ~ b` into a metered filter: Jinja gives the operator no hook of its own."""
    for node in [tree, *tree.find_all(nodes.Node)]:
        for field, value in list(node.iter_fields()):
            if isinstance(value, nodes.Concat):
                setattr(node, field, _joined(value))
            elif isinstance(value, list):
                items = cast(list[Any], value)
                items[:] = [
                    _joined(item) if isinstance(item, nodes.Concat) else item for item in items
                ]


def _joined(node: nodes.Concat) -> nodes.Filter:
    parts = nodes.List(node.nodes, lineno=node.lineno)
    return nodes.Filter(parts, "_concat", [], [], None, None, lineno=node.lineno)


def _new_environment() -> _ChatEnvironment:
    env = _ChatEnvironment(
        trim_blocks=True,
        lstrip_blocks=True,
        optimized=False,
        extensions=[_GenerationTag, loopcontrols],
    )
    env.filters["tojson"] = _tojson
    env.filters = {name: _metered(name, function) for name, function in env.filters.items()}
    env.filters["_rounds"] = _rounds
    env.filters["_concat"] = _concat
    del env.globals["lipsum"]
    own = {"dict": _dict, "raise_exception": _raise_exception, "strftime_now": _strftime_now}
    cast(dict[str, Any], env.globals).update(own, namespace=_SafeNamespace)
    return env


_TEMPLATE_ERRORS = (
    *(jinja2.TemplateError, TypeError, ValueError),
    *(LookupError, AttributeError, ArithmeticError),
)
"""What a template's own expressions can raise."""


class Template:
    """A compiled chat template. `render` is safe to call from several threads."""

    def __init__(self, source: str) -> None:
        """Raises ModelFolderError for a template that is too long or does not parse."""
        if len(source) > MAX_TEMPLATE_CHARS:
            raise ModelFolderError(
                f"a chat template of {len(source)} characters",
                f"at most {MAX_TEMPLATE_CHARS} are allowed",
            )
        self.source = source
        self._env = _new_environment()
        try:
            self._template = self._env.from_string(source)
        except (jinja2.TemplateError, RecursionError) as error:
            raise ModelFolderError(
                f"the chat template does not parse: {error}", "fetch the model folder again"
            ) from None

    @functools.cached_property
    def variables(self) -> frozenset[str]:
        """Names the template reads from outside."""
        return frozenset(meta.find_undeclared_variables(self._env.parse(self.source)))

    def render(self, values: Mapping[str, Any]) -> str:
        """The text for plain JSON `values`. Raises UserError with the template's own message, or the limit it broke."""
        token = _meter.set(_Meter())
        chunks: list[str] = []
        size = 0
        try:
            for chunk in self._template.generate(dict(values)):
                _meter.get().tick()
                _check_size(size := size + len(chunk))
                chunks.append(chunk)
        except (SecurityError, RecursionError, MemoryError) as error:
            raise UserError(
                f"the chat template was stopped: {str(error) or type(error).__name__}",
                "use a template from the model's own publisher",
            ) from None
        except _TEMPLATE_ERRORS as error:
            raise UserError(
                f"the chat template refused these messages: {error}",
                "change the messages, or the model",
            ) from None
        finally:
            _meter.reset(token)
        return "".join(chunks)
