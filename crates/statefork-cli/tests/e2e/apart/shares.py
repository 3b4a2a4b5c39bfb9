"""Leaves a mark wherever two containers could meet, and says whose marks are there.

Run in each of several containers at once with a mark of its own. It is ready once /tmp/ready is there, and
goes on once /tmp/go is. Writes one JSON document: the marks that it found at the end, by place.
"""

import ctypes
import ctypes.util
import json
import os
import socket
import sys
import time
from multiprocessing import shared_memory

MARK = sys.argv[1]
FOLDERS = ["/", "/app", "/etc", "/opt", "/root", "/srv", "/tmp", "/usr/local", "/var", "/var/tmp", "/var/lib",
           "/dev/shm", "/mem", "/data-app"]
PORT = 9000
KEY = 0x5346
SIZE = 64
CREATE = 0o1000 | 0o600


def wait_for(path):
    """Waits until a file is there, for a minute at most."""
    until = time.monotonic() + 60
    while not os.path.exists(path):
        if time.monotonic() > until:
            sys.exit(f"{path} does not come")
        time.sleep(0.01)


def sysv():
    """A segment of System V shared memory under a key that all use."""
    libc = ctypes.CDLL(ctypes.util.find_library("c") or "libc.so.6", use_errno=True)
    libc.shmat.restype = ctypes.c_void_p
    number = libc.shmget(KEY, SIZE, CREATE)
    if number < 0:
        sys.exit(f"shmget: {os.strerror(ctypes.get_errno())}")
    return libc.shmat(number, None, 0)


def text(data):
    """What stands before the first NUL."""
    return bytes(data).split(b"\0")[0].decode()


def main():
    """Leaves marks, waits for the others, reads."""
    segment = sysv()
    posix = shared_memory.SharedMemory("apart", create=True, size=SIZE)
    # A port and a name that another one had in the same network would be refused here.
    port = socket.create_server(("0.0.0.0", PORT))
    abstract = socket.socket(socket.AF_UNIX)
    abstract.bind("\0apart")
    folders = [folder for folder in FOLDERS if os.path.isdir(folder)]
    marks = [os.path.join(folder, f"mark-{MARK}") for folder in folders]
    wait = os.open("/tmp/ready", os.O_CREAT | os.O_WRONLY)
    os.close(wait)
    wait_for("/tmp/go")
    # All write at once, and often.
    until = time.monotonic() + 1
    while time.monotonic() < until:
        ctypes.memmove(segment, MARK.encode() + b"\0", len(MARK) + 1)
        posix.buf[: len(MARK) + 1] = MARK.encode() + b"\0"
        for path, folder in zip(marks, folders):
            for name in (path, os.path.join(folder, "shared")):
                with open(name, "w", encoding="utf-8") as file:
                    file.write(MARK)
    found = {}
    for folder in folders:
        names = sorted(name for name in os.listdir(folder) if name.startswith("mark-"))
        with open(os.path.join(folder, "shared"), encoding="utf-8") as file:
            found[folder] = [file.read(), *names]
    processes = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", encoding="utf-8") as file:
                words = file.read().split("\0")
        except OSError:
            continue
        processes += [word for word in words if word.startswith("apart-")]
    print(json.dumps({
        "folders": found,
        "sysv": text(ctypes.string_at(segment, SIZE)),
        "posix": text(posix.buf),
        "processes": sorted(set(processes)),
        "host": socket.gethostname(),
    }))
    posix.unlink()
    port.close()
    abstract.close()


main()
