"""Shared functions of the fakes of Xvfb, x11vnc and Chromium.

Each has the part of the real program's behaviour that the server relies on: the sign of readiness, the
files that it leaves, its end. A way to misbehave is given by the first argument, `--fake=WAY`:

    exit        prints a reason on its error output, and ends at once with status 3
    segfault    ends at once by a signal
    never       never shows its sign of readiness, and ignores SIGTERM
    deaf        works, but ignores SIGTERM and requests to close
    fork        works, and leaves a child in a separate session
    flood       works, and writes endless output

And ways to do more:

    pages       Chromium: a page can be attached to and navigated, and evaluates `6 * 7`
    paints      x11vnc: the whole picture is sent, and again 20 times in a second
"""

import os
import signal
import socket
import subprocess
import sys
import threading
import time


def misbehave(arguments):
    """Removes the way to misbehave from the arguments, and does its part before the start."""
    way = None
    if arguments and arguments[0].startswith("--fake="):
        way = arguments.pop(0).removeprefix("--fake=")
    if way == "exit":
        print("the fake failed as configured", file=sys.stderr, flush=True)
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
    """The value of an option."""
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
