"""verify/judge: the worker process that compares formulas, killed when it takes too long. Imports no algebra itself.

sympy and Math-Verify can take any time and memory; no signal stops them in a thread. So they live in a process
of their own, which has a memory limit, answers one question at a time, and ends with its parent's pipe.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from ponder.verify.formula import Node

REPLY_S = 5.0
START_S = 30.0
"""For a new process, which imports sympy first."""
MAX_REPLY = 10_000
MAX_QUESTION = 60_000
"""Bytes; less than a pipe holds, so that writing never waits."""
_PROGRAM = Path(__file__).with_name("symbolic.py")

Ruling = tuple[bool | None, str]
"""Equal, different, or None for not decided; and why."""


class Judge:
    """`same` and `read_same` may be called from any thread; one question is asked at a time."""

    def __init__(self, reply_s: float = REPLY_S) -> None:
        self.reply_s = reply_s
        self.num_killed = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()

    def same(self, left: Node, right: Node) -> Ruling:
        """Are these formulas equal? By sympy."""
        return self._ask({"left": _tree(left), "right": _tree(right)})

    def read_same(self, expected: str, answer: str) -> Ruling:
        """Are these texts equal, in that order? By Math-Verify; never False, because it does not tell why not."""
        return self._ask({"expected": expected, "answer": answer})

    def close(self) -> None:
        """End the process; the next question starts another."""
        with self._lock:
            self._kill()

    def _ask(self, question: dict[str, Any]) -> Ruling:
        line = json.dumps(question).encode() + b"\n"
        if len(line) > MAX_QUESTION:
            return None, "too large to compare"
        with self._lock:
            if self._process is None or self._process.poll() is not None:
                self._kill()
                self._process = subprocess.Popen(
                    [sys.executable, "-P", str(_PROGRAM)],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                    start_new_session=True,
                )
                if self._exchange(self._process, b"", START_S) is None:
                    self._kill()
                    return (
                        None,
                        f"the process that compares formulas did not start in {START_S:g} s",
                    )
            reply_line = self._exchange(self._process, line, self.reply_s)
            if reply_line is None:
                self.num_killed += 1
                self._kill()
                over = f"over {self.reply_s:g} s or its memory"
                return None, f"the comparison took {over}, and was stopped"
            reply = json.loads(reply_line)
            return reply["equal"], reply["reason"]

    def _exchange(
        self, process: subprocess.Popen[bytes], line: bytes, limit_s: float
    ) -> bytes | None:
        assert process.stdin and process.stdout, f"no pipes: {process.args}"
        until = time.monotonic() + limit_s
        reply = b""
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(line)
            process.stdin.flush()
        while not reply.endswith(b"\n") and len(reply) < MAX_REPLY:
            left_s = until - time.monotonic()
            if left_s <= 0 or not select.select([process.stdout], [], [], left_s)[0]:
                return None
            piece = os.read(process.stdout.fileno(), MAX_REPLY)
            if not piece:
                return None
            reply += piece
        return reply if reply.endswith(b"\n") else None

    def _kill(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()


def _tree(node: Node) -> list[Any]:
    return [node.op, node.name, str(node.number), [_tree(child) for child in node.args]]
