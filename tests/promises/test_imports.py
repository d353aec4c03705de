"""Promise: a bare install imports every torch-free room, and importing has no effects."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

from package_source import modules

HAS_NATIVE = importlib.util.find_spec("ponder.model.ops._native") is not None
PROGRAM = """
import importlib, json, logging, os, signal, sys, threading, warnings

class Block:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in BLOCKED:
            raise ModuleNotFoundError(f"{name} is not part of the base install", name=name)

import numpy  # sets up its own threads and warning filters
sys.meta_path.insert(0, Block())
before = [dict(os.environ), os.getcwd(), warnings.filters[:], signal.getsignal(signal.SIGINT),
          len(logging.root.handlers), logging.root.level, sys.excepthook is sys.__excepthook__]
touched = []

def watch(event, args):
    if event == "open" and isinstance(args[1], str) and set(args[1]) & set("wax+"):
        touched.append(f"{event} {args[0]}")
    if event in {"os.mkdir", "os.remove", "os.rename", "os.putenv", "os.unsetenv", "subprocess.Popen",
                 "socket.connect", "socket.bind", "os.system"}:
        touched.append(f"{event} {args[:1]}")

sys.addaudithook(watch)
for name in NAMES:
    importlib.import_module(name)
seen = list(touched)
after = [dict(os.environ), os.getcwd(), warnings.filters[:], signal.getsignal(signal.SIGINT),
         len(logging.root.handlers), logging.root.level, sys.excepthook is sys.__excepthook__]
print(json.dumps({"touched": seen, "same": [a == b for a, b in zip(before, after)],
                  "threads": threading.active_count(), "torch": "torch" in sys.modules}))
"""


def test_bare_import_without_torch_and_without_effects(tmp_path: Path) -> None:
    light = [
        name
        for name, module in modules().items()
        if module.room != "train"
        and not name.startswith("ponder.model.ops.torch")
        and not name.endswith("__main__")
        and (HAS_NATIVE or name != "ponder.model.ops.native")
    ]
    blocked = {"torch", "transformers", "safetensors", "scipy", "pytest"}
    program = f"NAMES = {light!r}\nBLOCKED = {blocked!r}\n" + PROGRAM
    run = subprocess.run(
        [sys.executable, "-B", "-c", program],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    lines = run.stdout.splitlines()
    assert len(lines) == 1, f"importing printed: {lines[:-1]}"
    assert not run.stderr, f"importing wrote to stderr: {run.stderr}"
    facts = json.loads(lines[0])
    assert facts["touched"] == [], facts["touched"]
    assert all(facts["same"]), (
        f"environment, folder, filters, SIGINT, logging, hook: {facts['same']}"
    )
    assert facts["threads"] == 1, f"importing left {facts['threads']} threads"
    assert not facts["torch"], "torch was imported"
    assert not list(tmp_path.iterdir()), f"importing made {list(tmp_path.iterdir())}"


def test_plain_import_is_light() -> None:
    """`import ponder` alone loads no numpy: the door opens rooms when they are used."""
    program = "import sys, ponder; print(sorted({'numpy', 'torch', 'jinja2', 'tokenizers'} & set(sys.modules)))"
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == "[]", f"`import ponder` loads {run.stdout.strip()}"
