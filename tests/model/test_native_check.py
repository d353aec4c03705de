"""Instruction sets this machine may lack, bit by bit against portable code: `native/check.cpp` under an emulator.

AVX-512 needs the headers of SIMDe 0.8 or later, NEON an aarch64 compiler and qemu-aarch64; what is absent is skipped.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

NATIVE = Path(__file__).resolve().parents[2] / "native"
FLAGS = ["-std=c++20", "-O1", "-w", "-ffp-contract=off", "-fno-math-errno"]
SIMDE = ["-DPONDER_SIMDE", "-DSIMDE_ENABLE_NATIVE_ALIASES"]

pytestmark = pytest.mark.slow


def build(compiler: str, flags: list[str], kernels: str, out: Path) -> Path:
    sources = ["check.cpp", "kernels_portable.cpp", f"kernels_{kernels}.cpp"]
    program = out / f"check_{kernels}"
    command = [compiler, *FLAGS, *flags, f"-DPONDER_CHECK=kernels_{kernels}"]
    subprocess.run([*command, *sources, "-o", str(program)], cwd=NATIVE, check=True)
    return program


def says_ok(command: list[str]) -> bool:
    return subprocess.run(command, capture_output=True, text=True).stdout == "ok\n"


@pytest.mark.parametrize("kernels", ["avx512", "neon"])
def test_emulated_by_simde(kernels, tmp_path):
    probe = "#include <simde/x86/avx512/dpbusd.h>\n#include <simde/x86/avx512/shuffle.h>\n"
    probe += "int main() { return SIMDE_VERSION_MINOR < 8; }\n"
    (tmp_path / "probe.cpp").write_text(probe)
    compiler = shutil.which("c++")
    if compiler is None:
        pytest.skip("no C++ compiler")
    command = [compiler, str(tmp_path / "probe.cpp"), "-o", str(tmp_path / "probe")]
    if subprocess.run(command, capture_output=True).returncode != 0:
        pytest.skip("no headers of SIMDe")
    if subprocess.run([str(tmp_path / "probe")]).returncode != 0:
        pytest.skip("SIMDe is older than 0.8")
    assert says_ok([str(build(compiler, SIMDE, kernels, tmp_path))])


@pytest.mark.parametrize(
    ("kernels", "march"), [("neon", "armv8-a"), ("neon_dot", "armv8.2-a+dotprod")]
)
def test_emulated_by_qemu(kernels, march, tmp_path):
    compiler, qemu = shutil.which("aarch64-linux-gnu-g++"), shutil.which("qemu-aarch64")
    if compiler is None or qemu is None:
        pytest.skip("no aarch64 compiler or qemu")
    program = build(compiler, ["-static", f"-march={march}"], kernels, tmp_path)
    assert says_ok([qemu, "-cpu", "max", str(program)])
