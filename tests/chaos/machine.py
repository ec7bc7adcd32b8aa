"""Processes of this machine, and leftovers: `/proc`, X locks, ports, shared memory.

No process is signalled by its number alone. It must have the mark of a session that was created here,
which is checked again after a descriptor of the process is open.
"""

import os
import signal
import socket
import struct


def _read(path):
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return b""


def programs(session):
    """The processes of a session: `{pid: kind}`, of which kinds are `chromium`, `renderer`,
    `gpu-process`, `utility`, `zygote`, `xvfb` and `x11vnc`."""
    found, others = {}, {}
    mark, folder = f"GREENROOM_SESSION={session}".encode(), f"/{session}/".encode()
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        arguments = _read(f"/proc/{entry}/cmdline")
        environment = _read(f"/proc/{entry}/environ")
        wiped = environment and not environment.strip(b"\0")
        if mark in environment.split(b"\0") or (wiped and folder in arguments):
            found[int(entry)] = _kind(arguments)
        else:
            others[int(entry)] = arguments
    # A browser's children lose both marks, but stay in its process group.
    for pid, arguments in others.items():
        try:
            if os.getpgid(pid) in found:
                found[pid] = _kind(arguments)
        except OSError:
            pass  # The process has ended since.
    return found


def _kind(arguments):
    words = arguments.replace(b"\0", b" ").split(b" ")
    for word in words:
        if word.startswith(b"--type="):
            return word[len(b"--type="):].decode()
    name = os.path.basename(words[0]).lower().decode(errors="replace")
    for program in ("xvfb", "x11vnc", "chromium"):
        if program in name:
            return program
    return name


def send(session, pid, what):
    """Signals a process if it still belongs to this session. Returns True if it did."""
    try:
        descriptor = os.pidfd_open(pid)
    except OSError:
        return False
    try:
        if pid not in programs(session):
            return False
        signal.pidfd_send_signal(descriptor, what)
        return True
    except OSError:
        return False
    finally:
        os.close(descriptor)


def dead_display_files(number):
    """The lock and the socket of a display, if they are there and no X server has them: another's
    may have the number by now."""
    lock = f"/tmp/.X{number}-lock"
    owner = _read(lock).decode(errors="replace").strip()
    if owner.isdigit() and os.path.exists(f"/proc/{owner}"):
        return []
    return [name for name in (lock, f"/tmp/.X11-unix/X{number}") if os.path.lexists(name)]


def listens(port):
    """True if a process accepts connections there."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def segments(creators):
    """The number of shared memory segments of these processes that no process is attached to."""
    rows = [row.split() for row in _read("/proc/sysvipc/shm").decode().splitlines()[1:]]
    return sum(1 for row in rows if int(row[4]) in creators and row[6] == "0")


def cpu_seconds(pid):
    """The processor time of a process so far, without its children."""
    fields = _read(f"/proc/{pid}/stat").decode().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK") if fields else 0.0


def free_port():
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
