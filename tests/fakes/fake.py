"""What the stand-ins for Xvfb, x11vnc and Chromium share.

Each keeps to the part of its original's behaviour that the server relies on: the sign of readiness, the
files it leaves, how it ends. A way to misbehave is given by the first argument, `--fake=WAY`:

    exit        says why on its error output, and ends at once with status 3
    segfault    ends at once by a signal
    never       never shows its sign of readiness, and is deaf to SIGTERM
    deaf        works, and is deaf to SIGTERM and to requests to close
    fork        works, and leaves a child in a session of its own
    flood       works, and writes without end
"""

import os
import signal
import socket
import subprocess
import sys
import threading
import time


def misbehave(arguments):
    """Removes the way to misbehave from the arguments, and does what comes before the start."""
    way = None
    if arguments and arguments[0].startswith("--fake="):
        way = arguments.pop(0).removeprefix("--fake=")
    if way == "exit":
        print("the stand-in was told to fail", file=sys.stderr, flush=True)
        os._exit(3)
    if way == "segfault":
        print("the stand-in was told to crash", file=sys.stderr, flush=True)
        os.kill(os.getpid(), signal.SIGSEGV)
    if way in ("never", "deaf"):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if way == "never":
        while True:
            signal.pause()
    if way == "fork":
        subprocess.Popen(["sleep", "600"], start_new_session=True)
    if way == "flood":
        threading.Thread(target=flood, daemon=True).start()
    return way


def flood():
    while True:
        sys.stderr.write("water everywhere\n" * 500)
        sys.stderr.flush()
        time.sleep(0.002)


def value_of(arguments, name):
    """What follows an option."""
    return arguments[arguments.index(name) + 1]


def display_socket(number):
    return f"/tmp/.X11-unix/X{number}"


def end_with_display(number):
    """Ends this process when the display does, as programs with windows do."""
    link = socket.socket(socket.AF_UNIX)
    link.connect(display_socket(number))
    link.sendall(b"K")

    def watch():
        try:
            while link.recv(1):
                pass
        except OSError:
            pass
        os._exit(0)

    threading.Thread(target=watch, daemon=True).start()
