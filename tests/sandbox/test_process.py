"""The sandbox: its layers on this machine, what it runs, and how it refuses."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ponder.core.errors import SandboxError
from ponder.sandbox import Limits, Sandbox


def test_every_layer_is_present(sandbox):
    missing = [(layer.name, layer.detail) for layer in sandbox.self_test() if not layer.present]
    assert not missing


def test_a_program_gets_files_and_input_and_leaves_files(sandbox):
    source = "import sys, lib\nprint(lib.twice(sys.stdin.read()), sys.argv)\n"
    source += "open('out/a.txt', 'w').write('made')\nexit(3)"
    files = {"main.py": source, "lib.py": "def twice(x): return x * 2", "out/b.bin": b"\xff\0"}
    result = sandbox.run(["python", "main.py", "x"], files=files, stdin=b"ab", outputs=["out/*"])
    assert (result.status, result.limit, result.stderr) == (3, None, b"")
    assert result.stdout == b"abab ['main.py', 'x']\n"
    assert result.files == {"out/a.txt": b"made", "out/b.bin": b"\xff\0"}


def test_errors_and_signals_of_a_program_are_told(sandbox):
    crash = sandbox.run(["python", "-c", "def f(): return 1 / 0\nf()"])
    assert crash.status == 1 and b"boot.py" not in crash.stderr
    assert crash.stderr.splitlines()[-1] == b"ZeroDivisionError: division by zero"
    killed = sandbox.run(["python", "-c", "import os; os.kill(os.getpid(), 11)"])
    assert killed.signal == signal.SIGSEGV
    assert sandbox.run(["/no/such/program"]).status == 127


def test_the_environment_is_ours_alone(sandbox):
    os.environ["PONDER_TEST_SECRET"] = "secret"  # what a parent's environment may hold
    try:
        told = sandbox.run(["python", "-c", "import os\nfor k in sorted(os.environ): print(k)"])
    finally:
        del os.environ["PONDER_TEST_SECRET"]
    names = told.stdout.decode().split()
    assert set(names) <= {
        "HOME", "LANG", "LC_CTYPE", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "PATH", "PWD",
        "PYTHONDONTWRITEBYTECODE", "PYTHONHASHSEED", "TMPDIR",
    }  # fmt: skip


def test_equal_runs_are_equal(sandbox):
    program = ["python", "-c", "print({'a', 'b', 'c', 'd', 'e'}, hash('x'))"]
    assert sandbox.run(program).stdout == sandbox.run(program).stdout


def test_many_at_once_and_no_descriptor_is_lost(sandbox):
    def twice(k: int) -> bytes:
        return sandbox.run(["python", "-c", f"print({k} * 2)"]).stdout

    before = len(os.listdir("/proc/self/fd"))
    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(twice, range(18))) == [b"%d\n" % (2 * k) for k in range(18)]
    assert len(os.listdir("/proc/self/fd")) == before


def test_abort_from_another_thread(sandbox):
    abort = threading.Event()
    timer = threading.Timer(0.2, abort.set)
    timer.start()
    began = time.monotonic()
    result = sandbox.run(["python", "-c", "while True: pass"], abort=abort)
    assert result.limit == "abort" and time.monotonic() - began < Limits().wall_s


@pytest.mark.parametrize("name", ["", "/etc/x", "../x", "a/../../x", "a\0b", ".", "a" * 256, "f/x"])
def test_file_names_that_lead_elsewhere_are_refused(sandbox, name):
    with pytest.raises(SandboxError, match="is not a file name for a sandbox"):
        sandbox.run(["python", "-c", ""], files={"f": "", name: ""})


def test_files_beyond_the_disk_are_refused_and_text_of_any_kind_is_laid_in(sandbox):
    with pytest.raises(SandboxError, match="hold 2049 bytes and its disk 2048"):
        sandbox.run(["python", "x.py"], files={"x.py": bytes(2049)}, limits=Limits(disk_bytes=2048))
    told = sandbox.run(["python", "x.py"], files={"x.py": "print('\ud800')"})
    assert told.status == 1 and b"SyntaxError" in told.stderr, "a program's fault, not ours"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("wall_s", each) for each in (float("nan"), float("inf"), -1)),
        *((name, -1) for name in ("cpu_s", "memory_bytes", "disk_bytes", "output_bytes", "open_files")),
        ("cpu_s", 0), ("processes", 0), ("processes", 1 << 40), ("memory_bytes", 1 << 70),
    ],
)  # fmt: skip
def test_limits_that_are_none_are_refused(name, value):
    with pytest.raises(SandboxError, match=f"The limit {name} of a sandbox is"):
        Limits(**{name: value})


@pytest.mark.parametrize(
    "path", ["relative", "/no/such", "/", "//", "/tmp", "/tmp/", "/proc/self", "/dev/null"]
)
def test_paths_that_a_program_would_not_see_are_refused(path):
    with pytest.raises(SandboxError, match="cannot be shown to a sandbox"):
        Sandbox(read_only=[path])


def test_unknown_layers_are_refused():
    with pytest.raises(SandboxError, match=r"'secomp' is not a layer.* Did you mean 'seccomp'\?"):
        Sandbox(allow_missing=("secomp",))


def test_without_bubblewrap_nothing_runs():
    with pytest.raises(SandboxError, match="was not found; nothing untrusted runs without it"):
        Sandbox(bubblewrap="no-such-program").run(["python", "-c", ""])


@pytest.fixture
def weakened() -> Iterator[Path]:
    """A folder that nobody may enter too, for programs that stand before the real bubblewrap."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.mark.parametrize(
    ("option", "values", "layer"),
    [("--seccomp", 1, "seccomp"), ("--unshare-net", 0, "namespaces"), ("--remount-ro", 1, "files")],
)
def test_a_layer_that_is_lost_is_noticed_and_named(sandbox, weakened, option, values, layer):
    """The real bubblewrap, less one of its options: the self-test must see it from inside."""
    program = weakened / "bwrap"
    real = shutil.which("bwrap")
    program.write_text(
        "#!/usr/bin/env bash\nkept=()\nwhile (($#)); do\n"
        f'  if [ "$1" = {option} ]; then shift {1 + values}; else kept+=("$1"); shift; fi\n'
        f'done\nexec {real} "${{kept[@]}}"\n'
    )
    program.chmod(0o755)
    with pytest.raises(SandboxError, match=f"lacks the layer '{layer}'.*\n.*allow_missing"):
        Sandbox(bubblewrap=str(program)).run(["python", "-c", "print(1)"])
    allowed = Sandbox(bubblewrap=str(program), allow_missing=("seccomp", "namespaces", "files"))
    assert allowed.run(["python", "-c", "print(1)"]).stdout == b"1\n"
