"""sandbox/boot: the first code inside a sandbox. Sets the limits, then becomes the program; never imports Ponder.

The parent sends this module's code with its settings, and runs `main` in a fresh interpreter. What is sent over the
socket (a handle on the working folder) also says: set-up is over, the clock runs.
"""

from __future__ import annotations

import _socket
import builtins
import marshal
import os
import resource
import sys

TYPE_CHECKING = False  # typing would be a quarter of the start
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Any


def main(settings: dict[str, Any]) -> None:
    """Make the folder and its files, set the limits, report, and run `settings["argv"]`."""
    work: str = settings["work"]
    os.mkdir(work)
    os.chdir(work)
    files: dict[str, bytes] = settings["files"]
    for name, data in files.items():
        if "/" in name:
            os.makedirs(os.path.dirname(name), exist_ok=True)
        with open(name, "wb") as out:
            out.write(data)
    folder = os.open(work, os.O_RDONLY | os.O_DIRECTORY)
    for kind, soft, hard in settings["limits"]:
        resource.setrlimit(kind, (soft, hard))
    channel = _socket.socket(fileno=settings["channel"])
    handle = folder.to_bytes(4, sys.byteorder)
    channel.sendmsg([b"."], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, handle)])
    channel.close()
    os.closerange(3, 1 << 20)
    argv: list[str] = settings["argv"]
    if argv[0] == "python":
        sys.path.insert(0, work)
        run_python(argv[1:])
        return
    try:
        os.execvp(argv[0], argv)
    except OSError as error:
        os.write(2, f"{argv[0]}: {error.strerror}\n".encode())
        os._exit(127)


def run_python(argv: list[str]) -> None:
    """Run `FILE …` or `-c CODE …` in this interpreter as `__main__`, as the command `python` would.

    A file `*.marshal` holds code that the parent has compiled.
    """
    if argv[0] == "-c":
        name, source = "<program>", argv[1].encode()
        sys.argv = ["-c", *argv[2:]]
    else:
        name, sys.argv = argv[0], list(argv)
        with open(name, "rb") as file:
            source = file.read()
    module = type(sys)("__main__")
    module.__dict__.update(__builtins__=builtins, __file__=name)
    sys.modules["__main__"] = module
    builtins.__dict__.update(exit=sys.exit, quit=sys.exit)

    def show(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        while trace and trace.tb_frame.f_code.co_filename != name:  # leave the frames of boot out
            trace = trace.tb_next
        sys.__excepthook__(kind, error.with_traceback(trace), trace)

    sys.excepthook = show
    compiled = (
        marshal.loads(source)
        if name.endswith(".marshal")
        else compile(source, name, "exec", dont_inherit=True)
    )
    exec(compiled, module.__dict__)
