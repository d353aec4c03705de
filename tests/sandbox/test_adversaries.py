"""Programs that try to harm: each is stopped, in time, and leaves nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ponder.sandbox import Limits

MIB = 1 << 20
SHORT = Limits(
    wall_s=0.5,
    cpu_s=1,
    memory_bytes=192 * MIB,
    disk_bytes=4 * MIB,
    output_bytes=1 << 16,
    processes=6,
)
NAME = "adv{}x{}"
NAMED = "import ctypes, os, signal, sys, time\nctypes.CDLL(None).prctl(15, b'{}')\n"
"""Every adversary names its process, so that what is left of it can be found from outside."""


def left(name: str) -> list[str]:
    """Processes of the host that carry this name."""
    found: list[str] = []
    for path in Path("/proc").glob("[0-9]*/comm"):
        try:
            text = path.read_text().strip()
        except OSError:
            continue
        if text == name:
            found.append(str(path))
    return found


@pytest.fixture
def attack(sandbox, request):
    """Run a program; afterwards none of its processes is left."""
    name = NAME.format(os.getpid() % 10000, abs(hash(request.node.name)) % 100000)

    def run(program: str, limits: Limits = SHORT, **options):
        began = time.monotonic()
        result = sandbox.run(
            ["python", "-c", NAMED.format(name) + program], limits=limits, **options
        )
        assert time.monotonic() - began < 30
        return result

    yield run
    assert left(name) == []


HANGS = {
    "sleeps": "time.sleep(60)",
    "spins": "while True: pass",
    "ignores signals": "for s in range(1, 65):\n  try: signal.signal(s, signal.SIG_IGN)\n"
    "  except (OSError, ValueError): pass\nwhile True: time.sleep(1)",
    "forks without end": "while True:\n  try: os.fork()\n  except OSError: pass",
    "starts threads without end": "import threading\nwhile True:\n"
    "  try: threading.Thread(target=time.sleep, args=(60,)).start()\n  except RuntimeError: pass",
    "stops itself": "os.kill(os.getpid(), signal.SIGSTOP)",
    "closes its output": "os.closerange(0, 3)\ntime.sleep(60)",
    "new sessions": "while True:\n  try:\n    if os.fork() == 0: os.setsid()\n  except OSError: pass",
    "stops pid 1": "os.kill(1, signal.SIGSTOP); os.kill(1, signal.SIGKILL)\ntime.sleep(60)",
}


@pytest.mark.parametrize("name", HANGS)
def test_programs_that_do_not_end_are_ended(attack, name):
    result = attack(HANGS[name])
    assert result.limit in ("wall", "cpu"), result


def test_cpu_time_ends_before_the_wall_clock(attack):
    result = attack(
        "signal.signal(signal.SIGXCPU, signal.SIG_IGN)\nwhile True: pass",
        Limits(wall_s=60, cpu_s=1),
    )
    assert result.limit == "cpu", result


def test_daemons_die_with_the_program(attack):
    daemon = "for _ in range(2):\n  if os.fork(): os._exit(0)\n  os.setsid()\ntime.sleep(60)"
    result = attack(f"if os.fork() == 0:\n  exec({daemon!r})\ntime.sleep(0.1)\nprint('done')")
    assert (result.status, result.stdout) == (0, b"done\n")


def test_memory_of_one_process(attack):
    result = attack(
        "held = []\nwhile True: held.append(bytearray(1 << 20))",
        Limits(wall_s=30, memory_bytes=192 * MIB),
    )
    assert result.limit == "memory" or b"MemoryError" in result.stderr, result


def test_memory_of_all_processes_together(attack):
    fill = "import threading\nfor _ in range(4): os.fork()if _ < 2 else 0\nheld = bytearray(100 << 20)\ntime.sleep(60)"
    result = attack(fill, Limits(wall_s=30, memory_bytes=192 * MIB, processes=6))
    assert result.limit == "memory", result


def test_the_disk_is_small(attack):
    fill = "n = 0\ntry:\n  for k in range(64):\n    with open(f'f{k}', 'wb') as f: n += f.write(bytes(1 << 20))\n"
    result = attack(f"{fill}except OSError as e: print(e.errno)")
    assert result.stdout.strip() in (b"28", b"27"), result
    many = attack("k = 0\nwhile True:\n  os.mkdir(f'{k}')\n  k += 1", Limits(wall_s=30))
    assert many.limit == "disk", many


def test_output_without_end(attack):
    for stream in ("stdout", "stderr"):
        result = attack(
            f"while True: sys.{stream}.write('x' * 4096)", Limits(wall_s=30, output_bytes=1 << 16)
        )
        assert result.limit == "output" and len(getattr(result, stream)) == 1 << 16, result


def test_input_that_nobody_reads(attack):
    assert attack("print(1)", stdin=bytes(8 * MIB)).stdout == b"1\n"


def test_no_network(attack):
    result = attack(
        "import socket\n"
        "for act in (lambda: socket.create_connection(('127.0.0.1', 22), 1), lambda: socket.socket(socket.AF_INET6),\n"
        "            lambda: socket.getaddrinfo('example.org', 80), lambda: socket.socket(16, 3),\n"
        "            lambda: socket.socket(1).connect('/run/x'), lambda: socket.socket(1).connect('\\0x')):\n"
        "  try: act(); print('open')\n  except OSError: print('denied')",
        Limits(),
    )
    assert result.stdout.split() == [b"denied"] * 6, result


def test_nothing_of_the_host_is_seen(attack):
    secret = Path.home() / "x"
    paths = ["/etc/passwd", "/etc/shadow", "/proc/self/environ", "/proc/1/root", "/sys/kernel", "/dev/mem",
             "/var/log", "/run", "/usr/bin", "/bin/sh", str(secret), os.getcwd(), "/dev/shm/x"]  # fmt: skip
    result = attack(
        f"print([p for p in {paths!r} if os.path.exists(p)], os.listdir('/tmp'), os.listdir('.'))"
    )
    assert result.stdout == b"[] ['work'] []\n", result


def test_escapes_are_denied(attack):
    tries = [
        "os.chroot('/tmp')", "os.setuid(0)", "os.setgroups([0])", "os.mknod('d', 0o60600, 0x800)",
        "open('/usr/lib/x', 'w')", "open('/x', 'w')", "os.unlink(os.__file__)", "os.link('/dev/null', '/dev/x')",
        "os.open('/proc/self/mem', 2)", "os.symlink('x', '/lib/x')", "os.chmod('/usr', 0o777)",
        f"os.kill({os.getpid()}, 9)", "os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(50))",
        "os.setpriority(0, 0, -20)",
        "os.memfd_create('x')", "os.execv('/usr/bin/bwrap', ['bwrap', '--help'])",
    ]  # fmt: skip
    result = attack(
        f"for act in {tries!r}:\n  try: exec(act); print('done:', act)\n  except OSError: pass\nprint('end')",
        Limits(),
    )
    assert result.stdout == b"end\n", result


def test_attacks_on_other_processes_reach_only_their_own(attack):
    result = attack("for s in (9, 15, 19): os.kill(os.getppid(), s); os.kill(1, s)\nprint('alive')")
    assert result.stdout == b"alive\n" and result.status == 0


def test_files_left_as_traps(attack, tmp_path):
    (tmp_path / "secret").write_text("secret")
    result = attack(
        f"os.symlink({str(tmp_path / 'secret')!r}, 'link')\nos.symlink('/', 'root')\nos.symlink('.', 'loop')\n"
        "os.mkfifo('pipe')\nimport socket\nsocket.socket(1).bind('sock')\nos.mkdir('shut', 0)\n"
        "open('kept', 'w').write('kept')\nos.link('kept', 'hard')\nopen('closed', 'w').close(); os.chmod('closed', 0)\n"
        "open('a\\nb', 'w').close()\nopen(b'\\xff', 'w').close()\n"
        "with open('big', 'wb') as f: f.truncate(3 << 20)\n"
        "for _ in range(200): os.mkdir('d'); os.chdir('d')\nopen('deep', 'w').close()",
        outputs=["*"],
    )
    files = {name: data for name, data in result.files.items() if name not in ("closed", "big")}
    assert files == {"kept": b"kept", "hard": b"kept", "a\nb": b"", "\udcff": b""}, result
    assert sum(map(len, result.files.values())) <= SHORT.disk_bytes


def test_a_working_folder_that_was_replaced(attack):
    result = attack(
        "os.chdir('/tmp')\nos.rename('work', 'gone')\nos.symlink('/usr', 'work')", outputs=["*"]
    )
    assert result.status == 0 and result.files == {}


PARENT = """
import sys
from ponder.sandbox import Limits, Sandbox
sandbox = Sandbox()
sandbox.require()
print("ready", flush=True)
sandbox.run(["python", "-c", sys.argv[1]], limits=Limits(wall_s=60, cpu_s=60))
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_programs_die_with_their_parent(sandbox, number):
    name = f"orphan{number}x{os.getpid()}"[:15]
    program = NAMED.format(name) + "for _ in range(3): os.fork()\ntime.sleep(60)"
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, program],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert parent.stdout is not None and parent.stdout.readline() == "ready\n"
    wait_until(lambda: len(left(name)) == 8)
    parent.send_signal(number)
    assert parent.wait(20) != 0
    parent.stdout.close()
    wait_until(lambda: left(name) == [])


def wait_until(happened) -> None:
    until = time.monotonic() + 20
    while not happened():
        assert time.monotonic() < until
        time.sleep(0.02)
