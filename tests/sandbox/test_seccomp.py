"""The filter, read by a second interpreter of classic BPF written from the kernel's description."""

from __future__ import annotations

import struct

import pytest

from ponder.sandbox.seccomp import filter_program

X86, ARM = 0xC000003E, 0xC00000B7
ALLOW, KILL, EPERM, ENOSYS = 0x7FFF0000, 0x80000000, 0x50001, 0x50026


def verdict(program: bytes, arch: int, number: int, *arguments: int) -> int:
    """What the kernel would return for this call."""
    arguments = (*arguments, *[0] * (6 - len(arguments)))
    data = struct.pack("<iIQ6Q", number, arch, 0, *arguments)
    lines = list(struct.iter_unpack("=HBBI", program))
    at = held = 0
    while True:
        code, yes, no, operand = lines[at]
        at += 1
        if code == 0x20:
            held = struct.unpack_from("<I", data, operand)[0]
        elif code == 0x06:
            return operand
        else:
            test = {0x15: held == operand, 0x35: held >= operand, 0x45: bool(held & operand)}[code]
            at += yes if test else no


CALLS = [
    # call, arguments, x86_64, aarch64, outcome
    ("read", (), 0, 63, ALLOW),
    ("exit_group", (), 231, 94, ALLOW),
    ("ptrace", (), 101, 117, EPERM),
    ("mount", (), 165, 40, EPERM),
    ("bpf", (), 321, 280, EPERM),
    ("userfaultfd", (), 323, 282, EPERM),
    ("perf_event_open", (), 298, 241, EPERM),
    ("io_uring_setup", (), 425, 425, EPERM),
    ("memfd_create", (), 319, 279, EPERM),
    ("clone3", (), 435, 435, ENOSYS),
    ("fork by clone", (0x1200011,), 56, 220, ALLOW),
    ("thread by clone", (0x3D0F00,), 56, 220, ALLOW),
    ("clone NEWUSER", (0x10000011,), 56, 220, EPERM),
    ("clone NEWNS, high bits", (1 << 32 | 0x20011,), 56, 220, EPERM),
    ("socket UNIX", (1, 1), 41, 198, ALLOW),
    ("socket INET", (2, 1), 41, 198, EPERM),
    ("socket INET, high bits", (1 << 32 | 2, 1), 41, 198, EPERM),
    ("socketpair VSOCK", (40, 1), 53, 199, EPERM),
    ("ioctl TCGETS", (0, 0x5401), 16, 29, ALLOW),
    ("ioctl TIOCSTI", (0, 0x5412), 16, 29, EPERM),
    ("ioctl TIOCSTI, high bits", (0, 1 << 40 | 0x5412), 16, 29, EPERM),
    ("ioctl TIOCLINUX", (0, 0x541C), 16, 29, EPERM),
]


@pytest.mark.parametrize(
    ("name", "arguments", "x86", "arm", "outcome"), CALLS, ids=lambda v: str(v)
)
def test_calls(name, arguments, x86, arm, outcome):
    assert verdict(filter_program("x86_64"), X86, x86, *arguments) == outcome
    assert verdict(filter_program("aarch64"), ARM, arm, *arguments) == outcome


def test_other_architectures_end_the_process():
    for machine, own in (("x86_64", X86), ("aarch64", ARM)):
        for arch in (X86, ARM, 0x40000003, 0x40000028):  # i386, arm
            expected = ALLOW if arch == own else KILL
            assert verdict(filter_program(machine), arch, 1) == expected
    assert verdict(filter_program("x86_64"), X86, 0x40000000) == KILL  # x32
    assert verdict(filter_program("x86_64"), X86, 0x40000000 | 101) == KILL
