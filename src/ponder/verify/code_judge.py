"""verify/code_judge: runs inside the sandbox as two processes, the program and its judge; never imports Ponder.

    judge   stdin: the program's part, fork, then the tests   stdout: status, new line, reason
      │ calls: name, arguments      ▲ replies: a value, or the name of an error
      ▼                             │
    program: holds neither the tests nor the judge's stdin and stdout

What crosses is bytes in the format of `encode`: plain values, by exact type. An object that claims to equal everything
arrives as an opaque handle that equals only itself. The judge rebuilds values; it never runs what the program sent.
"""

from __future__ import annotations

import builtins
import marshal
import os
import sys
import types

TYPE_CHECKING = False  # this runs for every verdict: no import that a start does not need
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, NoReturn

MOST_BYTES = 64 << 20
MOST_ITEMS = 1 << 20
SIGXCPU = 24


class ProgramError(BaseException):
    """The program broke the protocol or ended."""


class TestsError(BaseException):
    """The tests cannot be run this way; not the program's fault."""


class Handle:
    """A value that stays in the program's process."""

    key: int

    def __init__(self, key: int) -> None:
        object.__setattr__(self, "key", key)

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise TestsError(f"the tests set {name} of an object that stays in the program's process")


def encode(value: Any, keep: Callable[[Any], int] | None = None, depth: int = 0) -> bytes:
    """Bytes of a plain value; `keep` stores anything else and gives its handle's number."""
    if depth > 150:
        raise ValueError("nested too deep")
    kind = _kind(value)
    if value is None or kind is bool:
        return {None: b"n", True: b"t", False: b"f"}[value]
    for base, code in _SCALARS.items():
        if isinstance(value, base):
            return code(base, value)
    for base, letter in _GROUPS.items():
        if isinstance(value, base):
            return letter + _items(base.__iter__(value), keep, depth)
    if isinstance(value, dict):
        pairs = [x for pair in dict.items(value) for x in pair]  # pyright: ignore[reportUnknownVariableType]
        return b"m" + _items(pairs, keep, depth)
    if kind is range:
        return b"r" + _items([value.start, value.stop, value.step], keep, depth)
    if kind is type and getattr(builtins, value.__name__, None) is value:
        return b"y" + _items([value.__name__], keep, depth)
    if kind is Handle:
        return b"h%x;" % value.key
    if hasattr(kind, "__next__") or kind.__name__ in (
        "dict_values",
        "dict_keys",
        "dict_items",
        "deque",
    ):
        return (b"S" if kind.__name__ in ("dict_keys", "dict_items") else b"I") + _items(
            value, keep, depth
        )
    if keep is None:
        raise TestsError(f"the tests pass a value of type {kind.__name__}, which cannot leave them")
    return b"h%x;" % keep(value)


def _kind(value: Any) -> Any:
    return type(value)


def _items(values: Any, keep: Callable[[Any], int] | None, depth: int) -> bytes:
    parts: list[bytes] = []
    size = 0
    for value in values:
        parts.append(encode(value, keep, depth + 1))
        size += len(parts[-1])
        if len(parts) > MOST_ITEMS or size > MOST_BYTES:
            raise ValueError("too large")
    return b"%x;" % len(parts) + b"".join(parts)


def _text(base: type, value: Any) -> bytes:
    data = value if base is bytes else str.encode(value, "utf-8", "surrogatepass")
    return (b"b" if base is bytes else b"s") + b"%x;" % len(data) + bytes(data)


_SCALARS: dict[type, Callable[[type, Any], bytes]] = {
    int: lambda _, v: b"i%s;" % format(int.__int__(v), "x").encode(),
    float: lambda _, v: b"d%s;" % float.hex(v).encode(),
    complex: lambda _, v: b"c%s;%s;" % (float.hex(v.real).encode(), float.hex(v.imag).encode()),
    str: _text,
    bytes: _text,
}
_GROUPS: dict[type[Any], bytes] = {list: b"l", tuple: b"u", set: b"S", frozenset: b"F"}


def decode(data: bytes) -> Any:
    """The value of `encode`. Raises ProgramError for anything else."""
    try:
        value, end = _decode(data, 0)
    except (
        ValueError,
        TypeError,
        IndexError,
        KeyError,
        OverflowError,
        RecursionError,
        MemoryError,
    ) as error:
        raise ProgramError(f"sent bytes that are no value ({type(error).__name__})") from None
    if end != len(data):
        raise ProgramError("sent bytes that are no value")
    return value


def _decode(data: bytes, at: int) -> tuple[Any, int]:
    letter, at = data[at : at + 1], at + 1
    if letter in (b"n", b"t", b"f"):
        return {b"n": None, b"t": True, b"f": False}[letter], at
    end = data.index(b";", at)
    number, at = data[at:end].decode("ascii"), end + 1
    if letter == b"d":
        return float.fromhex(number), at
    if letter == b"c":
        end = data.index(b";", at)
        return complex(float.fromhex(number), float.fromhex(data[at:end].decode("ascii"))), end + 1
    count = int(number, 16)
    if letter == b"i":
        return count, at
    if letter == b"h":
        return Handle(count), at
    if not 0 <= count <= len(data):
        raise ValueError(count)
    if letter in (b"s", b"b"):
        raw = data[at : at + count]
        return (raw if letter == b"b" else raw.decode("utf-8", "surrogatepass")), at + count
    values: list[Any] = []
    for _ in range(count):
        value, at = _decode(data, at)
        values.append(value)
    return _BUILD[letter](values), at


_BUILD: dict[bytes, Callable[[list[Any]], Any]] = {
    b"l": list, b"u": tuple, b"S": set, b"F": frozenset, b"I": iter,
    b"m": lambda v: dict(zip(v[::2], v[1::2], strict=True)), b"r": lambda v: range(*v),
    b"y": lambda v: {kind.__name__: kind for kind in vars(builtins).values() if type(kind) is type}[v[0]],
}  # fmt: skip


def send(handle: int, data: bytes) -> None:
    """Write one frame: eight bytes of length, then `data`."""
    data = len(data).to_bytes(8, "little") + data
    while data:
        data = data[os.write(handle, data) :]


def receive(handle: int) -> bytes:
    """Read one frame. Raises EOFError when the other side has gone."""
    size = int.from_bytes(_exactly(handle, 8), "little")
    if size > 2 * MOST_BYTES:
        raise ProgramError(f"sent a reply of {size} bytes")
    return _exactly(handle, size)


def _exactly(handle: int, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        piece = os.read(handle, min(size - len(data), 1 << 20))
        if not piece:
            raise EOFError
        data += piece
    return bytes(data)


def serve(calls: int, replies: int, setup: str, program: str, names: list[str]) -> NoReturn:
    """The program's process: load it, then answer calls. Nothing after this point is trusted."""
    module = types.ModuleType("solution")
    sys.modules["solution"] = module
    held: list[Any] = []

    def keep(value: Any) -> int:
        held.append(value)
        return len(held) - 1

    def given(value: Any) -> Any:
        if isinstance(value, Handle):
            return held[value.key]
        if type(value) in (list, tuple):
            return type(value)(map(given, value))
        return value

    def call(name: str, args: tuple[Any, ...], named: dict[str, Any]) -> Any:
        return module.__dict__[name](*given(args), **{key: given(v) for key, v in named.items()})

    def load() -> None:
        if setup:
            exec(compile(setup, "<setup>", "exec", dont_inherit=True), module.__dict__)
        exec(compile(program, "<program>", "exec", dont_inherit=True), module.__dict__)
        for name in names:
            if name not in module.__dict__:
                raise NameError(f"the program does not define {name}")

    answer(replies, load, keep)
    while True:
        name, args, named = decode(receive(calls))
        answer(replies, lambda c=(name, args, named): call(*c), keep)


def answer(replies: int, act: Callable[[], Any], keep: Callable[[Any], int]) -> None:
    """Send the value of `act()`, or the name of what it raised."""
    try:
        reply = b"v" + encode(act(), keep)
    except BaseException as error:  # noqa: BLE001 - whatever the program raises is its answer
        reply = b"e" + encode((type(error).__name__, str(error)[:200]))
    send(replies, reply)


class Judge:
    """The trusted process: stands in for the program's functions while the tests run."""

    def __init__(self, calls: int, replies: int, program: int) -> None:
        self._calls, self._replies, self._program = calls, replies, program
        self.last = ""
        self.num_calls = 0

    def reply(self) -> Any:
        """The program's next value, or its error raised here as its built-in kind, marked `from_program`."""
        try:
            data = receive(self._replies)
        except EOFError:
            raise ProgramError(self._how_it_ended()) from None
        value: Any = decode(data[1:])
        if data[:1] == b"v":
            return value
        name, message = str(value[0]), str(value[-1])
        kind = getattr(builtins, name, None)
        if not isinstance(kind, type) or not issubclass(kind, Exception):
            kind = Exception
        make: Any = type
        error: Any = make(name, (kind,), {"from_program": True})(message)
        raise error

    def stand_in(self, name: str) -> Callable[..., Any]:
        """A function that asks the program."""

        def ask(*args: Any, **named: Any) -> Any:
            self.last = f"{name}({', '.join([*map(_short, args), *(f'{k}={_short(v)}' for k, v in named.items())])})"
            self.num_calls += 1
            data = encode((name, args, named))
            try:
                send(self._calls, data)
            except BrokenPipeError:
                raise ProgramError(self._how_it_ended()) from None
            value = self.reply()
            self.last += f" gave {_short(value)}"
            return value

        ask.__name__ = name
        return ask

    def _how_it_ended(self) -> str:
        status = os.waitstatus_to_exitcode(os.waitpid(self._program, 0)[1])
        if status == -SIGXCPU:
            return "used up its CPU time"
        return f"was ended by signal {-status}" if status < 0 else f"ended with status {status}"

    def judge(self, setup: str, check: str, names: list[str]) -> tuple[str, str]:
        """The verdict and its reason."""
        try:
            self.reply()
        except BaseException as error:  # noqa: BLE001 - told as the reason
            return "wrong", f"the program does not load: {_told(error)}"
        scope: dict[str, Any] = {"__name__": "tests", "__builtins__": builtins}
        try:
            exec(compile(setup, "<setup>", "exec", dont_inherit=True), scope)
            scope.update({name: self.stand_in(name) for name in names})
            exec(compile(check, "<tests>", "exec", dont_inherit=True), scope)
        except TestsError as error:
            return "undecided", str(error)
        except ProgramError as error:
            return "wrong", f"the program {error}{self._after()}"
        except BaseException as error:  # noqa: BLE001 - test code may raise anything
            ours = not hasattr(error, "from_program")
            if ours and (
                isinstance(error, SyntaxError | ImportError | NameError) or not self.num_calls
            ):
                return "undecided", f"the tests fail by themselves: {_told(error)}"
            return "wrong", f"{_line(error, check) or _told(error)}{self._after()}"
        if not self.num_calls:
            return "undecided", "the tests call nothing"
        return "right", f"all tests passed, {self.num_calls} calls"

    def _after(self) -> str:
        return f"; {self.last}" if self.last else ""


def _short(value: Any) -> str:
    if type(value) in (list, tuple, str, bytes):
        value = value[:61]
    try:
        text = "an object" if isinstance(value, Handle) else repr(value)
    except (ValueError, RecursionError):  # an integer of thousands of digits
        text = "a large value"
    return text if len(text) <= 60 else f"{text[:60]}…"


def _told(error: BaseException) -> str:
    if isinstance(error, ProgramError):
        return f"it {error}"
    return f"{type(error).__name__}: {error}"[:200]


def _line(error: BaseException, check: str) -> str:
    """The innermost line of the tests where it happened, and what was said."""
    trace, number = error.__traceback__, 0
    while trace:
        if trace.tb_frame.f_code.co_filename == "<tests>":
            number = trace.tb_lineno
        trace = trace.tb_next
    lines = check.splitlines()
    told = _told(error) if str(error) or not isinstance(error, AssertionError) else ""
    line = lines[number - 1].strip()[:160] if 0 < number <= len(lines) else ""
    return f"{line} ({told})" if line and told else line or told


def main() -> None:
    """Fork the program off, then read the tests and judge.

    The working folder leaves the import path first: the program can write there, and the judge must not import it.
    """
    sys.path[:] = [path for path in sys.path if not path.startswith("/tmp")]
    setup, program, names = marshal.loads(_exactly(0, int.from_bytes(_exactly(0, 8), "little")))
    their_calls, calls = os.pipe()
    replies, their_replies = os.pipe()
    pid = os.fork()
    if pid == 0:
        for handle in (calls, replies):
            os.close(handle)
        null = os.open("/dev/null", os.O_RDWR)
        for handle in (0, 1, 2):
            os.dup2(null, handle)
        serve(their_calls, their_replies, setup, program, names)
    for handle in (their_calls, their_replies):
        os.close(handle)
    data = bytearray()
    while piece := os.read(0, 1 << 20):
        data += piece
    setup, check, names = marshal.loads(data)
    out = os.dup(1)
    null = os.open("/dev/null", os.O_RDWR)
    os.dup2(null, 1)

    status, reason = Judge(calls, replies, pid).judge(setup, check, names)
    os.write(out, f"{status}\n{reason}".encode(errors="backslashreplace"))


if __name__ == "__main__":
    main()
