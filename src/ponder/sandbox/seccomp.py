"""sandbox/seccomp: the system-call filter as a classic BPF program, for x86_64 and aarch64. Pure: builds bytes.

Calls of another architecture end the process (32-bit and x32 calls have other numbers). What is denied answers EPERM,
an ordinary error; `clone3` answers ENOSYS, because its flags lie in memory that a filter cannot read, and the C library
then falls back to `clone`, whose flags are checked.
"""

from __future__ import annotations

import errno
import struct

_ARCHITECTURES = {"x86_64": (0xC000003E, 0), "aarch64": (0xC00000B7, 1)}
"""Machine name → (AUDIT_ARCH value, column in the tables below)."""

_CHECKED = {
    "clone": (56, 220),
    "clone3": (435, 435),
    "socket": (41, 198),
    "socketpair": (53, 199),
    "ioctl": (16, 29),
}

_DENIED: dict[str, tuple[int | None, int | None]] = {
    # looking into or steering other processes
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "kcmp": (312, 272),
    "pidfd_getfd": (438, 438), "process_madvise": (440, 440),
    # mounts and namespaces
    "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41), "chroot": (161, 51), "setns": (308, 268),
    "unshare": (272, 97), "open_tree": (428, 428), "move_mount": (429, 429), "fsopen": (430, 430),
    "fsconfig": (431, 431), "fsmount": (432, 432), "fspick": (433, 433), "mount_setattr": (442, 442),
    "name_to_handle_at": (303, 264), "open_by_handle_at": (304, 265), "fanotify_init": (300, 262),
    # kernel interfaces with a history of holes
    "bpf": (321, 280), "userfaultfd": (323, 282), "perf_event_open": (298, 241), "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426), "io_uring_register": (427, 427), "add_key": (248, 217), "request_key": (249, 218),
    "keyctl": (250, 219), "personality": (135, 92), "modify_ldt": (154, None), "lookup_dcookie": (212, 18),
    # memory that neither the address-space limit nor the size of /tmp counts
    "memfd_create": (319, 279), "memfd_secret": (447, 447), "shmget": (29, 194), "msgget": (68, 186),
    "semget": (64, 190), "mq_open": (240, 180), "mbind": (237, 235), "set_mempolicy": (238, 237),
    "migrate_pages": (256, 238), "move_pages": (279, 239),
    # the machine itself
    "acct": (163, 89), "init_module": (175, 105), "finit_module": (313, 273), "delete_module": (176, 106),
    "kexec_load": (246, 104), "kexec_file_load": (320, 294), "reboot": (169, 142), "swapon": (167, 224),
    "swapoff": (168, 225), "syslog": (103, 116), "sethostname": (170, 161), "setdomainname": (171, 162),
    "settimeofday": (164, 170), "clock_settime": (227, 112), "adjtimex": (159, 171), "clock_adjtime": (305, 266),
    "quotactl": (179, 60), "quotactl_fd": (443, 443), "vhangup": (153, 58), "iopl": (172, None), "ioperm": (173, None),
    "uselib": (134, None),
}  # fmt: skip
"""Call → its number on x86_64 and on aarch64; None where the architecture has none."""

_NAMESPACE_FLAGS = 0x7E020000
"""CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET."""
_TERMINAL_INJECTION = (0x5412, 0x541C)
"""TIOCSTI and TIOCLINUX: typing into the terminal that started the sandbox."""
_AF_UNIX = 1
_X32_BIT = 0x40000000

# Classic BPF: opcode, jump if true, jump if false, operand. Offsets into struct seccomp_data.
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_NUMBER, _ARCH, _FIRST_ARGUMENT, _SECOND_ARGUMENT = 0, 4, 16, 24
_ALLOW, _KILL, _ERROR = 0x7FFF0000, 0x80000000, 0x00050000


def supported(machine: str) -> bool:
    """True where `filter_program` knows the call numbers of `machine` (as `os.uname` names it)."""
    return machine in _ARCHITECTURES


def filter_program(machine: str) -> bytes:
    """The filter as an array of struct sock_filter, for `bwrap --seccomp`."""
    arch, column = _ARCHITECTURES[machine]
    lines: list[tuple[int, int, int, int]] = []

    def refuse(code: int = errno.EPERM) -> tuple[int, int, int, int]:
        return (_RETURN, 0, 0, _ERROR | code)

    lines += [(_LOAD, 0, 0, _ARCH), (_EQUAL, 1, 0, arch), (_RETURN, 0, 0, _KILL)]
    lines += [(_LOAD, 0, 0, _NUMBER)]
    if machine == "x86_64":
        lines += [(_AT_LEAST, 0, 1, _X32_BIT), (_RETURN, 0, 0, _KILL)]
    for numbers in _DENIED.values():
        number = numbers[column]
        if number is not None:
            lines += [(_EQUAL, 0, 1, number), refuse()]
    lines += [(_EQUAL, 0, 1, _CHECKED["clone3"][column]), refuse(errno.ENOSYS)]
    allow = (_RETURN, 0, 0, _ALLOW)
    for name in ("socket", "socketpair"):
        family = [(_LOAD, 0, 0, _FIRST_ARGUMENT), (_EQUAL, 1, 0, _AF_UNIX), refuse(), allow]
        lines += [(_EQUAL, 0, len(family), _CHECKED[name][column]), *family]
    flags = [(_LOAD, 0, 0, _FIRST_ARGUMENT), (_ANY_BIT, 0, 1, _NAMESPACE_FLAGS), refuse(), allow]
    lines += [(_EQUAL, 0, len(flags), _CHECKED["clone"][column]), *flags]
    lines += [(_EQUAL, 1, 0, _CHECKED["ioctl"][column]), allow]
    lines += [(_LOAD, 0, 0, _SECOND_ARGUMENT)]
    for request in _TERMINAL_INJECTION:
        lines += [(_EQUAL, 0, 1, request), refuse()]
    lines += [allow]
    return b"".join(struct.pack("=HBBI", *line) for line in lines)
