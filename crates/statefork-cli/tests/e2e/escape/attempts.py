"""Attempts of root in a container to reach what is outside of it.

    python3 attempts.py ATTEMPT HOST_PID

Prints a JSON object: for each way that the attempt tries, "refused: WHY" or "done". Nothing is
harmed where one succeeds: what would harm is opened, not written.
"""

import ctypes
import errno
import glob
import json
import os
import platform
import shutil
import signal
import stat
import struct
import subprocess
import sys
import tempfile

libc = ctypes.CDLL(None, use_errno=True)

# The numbers of calls that the C library has no function for: x86_64, and the others.
CALLS = {
    "fsopen": (430, 430),
    "clone": (56, 220),
    "clone3": (435, 435),
    "keyctl": (250, 219),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
}
# How the kernel says that somebody may not, or that there is no such thing here. Any other error
# comes from behind the door.
REFUSALS = {
    errno.EPERM, errno.EACCES, errno.EROFS, errno.ENOSYS, errno.ENOENT, errno.ESRCH, errno.ENXIO,
    errno.EXDEV, errno.ENOKEY,
}  # fmt: skip

NEW_NAMESPACES = {"mount": 0x20000, "user": 0x10000000, "pid": 0x20000000, "network": 0x40000000}
PTRACE_ATTACH, PTRACE_DETACH = 16, 17
MS_REMOUNT, MS_BIND, MNT_DETACH = 32, 4096, 2
NOBODY = 65534


class Refused(Exception):
    """Nothing failed, and nothing was reached."""


def checked(result):
    """The result of a function of the C library, or its error."""
    if result == -1:
        raise OSError(ctypes.get_errno(), "")
    return result


def call(name, *arguments):
    """A system call. Numbers are given as long, as the kernel takes them."""
    number = CALLS[name][platform.machine() != "x86_64"]
    wide = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    return checked(libc.syscall(ctypes.c_long(number), *wide))


def open_for_writing(path):
    os.close(os.open(path, os.O_WRONLY))


def as_user(uid, act):
    """Acts in a child that has become another user; raises what it raised."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setresgid(uid, uid, uid)
            os.setresuid(uid, uid, uid)
            act()
            said = b"done"
        except OSError as error:
            said = str(error.errno).encode()
        except Refused as refused:
            said = b"refused " + str(refused).encode()
        os.write(write, said)
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as answer:
        said = answer.read()
    os.waitpid(child, 0)
    if said.startswith("refused "):
        raise Refused(said[8:])
    if said != "done":
        raise OSError(int(said), "")


def mount(folder, _):
    def remount():
        checked(libc.mount(None, b"/proc/sys", None, MS_REMOUNT | MS_BIND, None))

    path = folder.encode()
    return {
        "a new file system": lambda: checked(libc.mount(b"none", path, b"tmpfs", 0, None)),
        "a bind": lambda: checked(libc.mount(b"/", path, None, MS_BIND, None)),
        "/proc/sys anew, writable": remount,
        "by fsopen": lambda: call("fsopen", b"tmpfs", 0),
        "what hides /proc/kcore away": lambda: checked(libc.umount2(b"/proc/kcore", MNT_DETACH)),
    }


def ptrace(_, host):
    def attach(pid):
        checked(libc.ptrace(PTRACE_ATTACH, pid, None, None))
        os.waitpid(pid, 0)
        libc.ptrace(PTRACE_DETACH, pid, None, None)

    def memory(pid):
        os.close(os.open(f"/proc/{pid}/mem", os.O_RDONLY))

    return {
        "a process of the host": lambda: attach(host),
        "its memory": lambda: memory(host),
        "a signal to it": lambda: os.kill(host, 0),
        "process 1, as another user": lambda: as_user(NOBODY, lambda: attach(1)),
        "its memory, as another user": lambda: as_user(NOBODY, lambda: memory(1)),
    }


def sysrq(folder, _):
    def through_new_proc():
        checked(libc.mount(b"proc", folder.encode(), b"proc", 0, None))
        open_for_writing(f"{folder}/sysrq-trigger")

    return {
        "/proc/sysrq-trigger": lambda: open_for_writing("/proc/sysrq-trigger"),
        "/proc/sys/kernel/sysrq": lambda: open_for_writing("/proc/sys/kernel/sysrq"),
        "through a /proc of its own": through_new_proc,
    }


def read_some(path):
    with open(path, "rb", buffering=0) as file:
        if not file.read(512):
            raise Refused("it is empty")


def read_node(folder, kind, number):
    """Makes a device and reads from it."""
    path = os.path.join(folder, f"node-{os.getpid()}")
    os.mknod(path, 0o600 | kind, number)
    try:
        read_some(path)
    finally:
        os.unlink(path)


def kcore(folder, _):
    return {
        "/proc/kcore": lambda: read_some("/proc/kcore"),
        "/dev/core": lambda: read_some("/dev/core"),
        "/dev/mem, made": lambda: read_node(folder, stat.S_IFCHR, os.makedev(1, 1)),
        "/dev/kmsg, made": lambda: read_node(folder, stat.S_IFCHR, os.makedev(1, 11)),
    }


def mknod(folder, _):
    def disk():
        for path in sorted(glob.glob("/sys/block/*/dev")):
            # One without a medium would say nothing.
            with open(os.path.join(os.path.dirname(path), "size")) as size:
                if int(size.read()) == 0:
                    continue
            with open(path) as number:
                return os.makedev(*map(int, number.read().split(":")))
        raise Refused("no disk is seen")

    def attempt(place):
        return lambda: read_node(place, stat.S_IFBLK, disk())

    return {
        "in the container's layer": attempt(folder),
        "in /dev": attempt("/dev"),
        "in /dev/shm": attempt("/dev/shm"),
    }


def setuid(folder, _):
    os.chmod(folder, 0o755)
    secret = os.path.join(folder, "secret")
    with open(os.open(secret, os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
        file.write("secret")

    def program(name, source):
        path = os.path.join(folder, name)
        shutil.copy(source, path)
        return path

    def run(*command):
        output = subprocess.run(command, capture_output=True, text=True)
        return output.stdout.strip()

    def become_root():
        path = program("id", shutil.which("id"))
        os.chmod(path, 0o4755)

        def act():
            if run(path, "-u") != "0":
                raise Refused("it stays the user")

        as_user(NOBODY, act)

    def with_capability():
        path = program("cat", shutil.which("cat"))
        os.chmod(path, 0o755)
        # VFS_CAP_REVISION_2, effective; CAP_DAC_OVERRIDE.
        value = struct.pack("<IIIII", 0x02000001, 1 << 1, 0, 0, 0)
        os.setxattr(path, "security.capability", value)

        def act():
            if run(path, secret) != "secret":
                raise Refused("it stays without it")

        as_user(NOBODY, act)

    return {
        "a set-user-id program of root": become_root,
        "a program with a capability": with_capability,
    }


def unshare(_, __):
    def clone(flag):
        if call("clone", flag | signal.SIGCHLD, 0, 0, 0, 0) == 0:
            os._exit(0)
        os.wait()

    def enter():
        place = os.open("/proc/1/ns/mnt", os.O_RDONLY)
        checked(libc.setns(place, 0))

    ways = {
        f"{name} namespace": lambda flag=flag: checked(libc.unshare(flag))
        for name, flag in NEW_NAMESPACES.items()
    }
    return ways | {
        "by clone": lambda: clone(NEW_NAMESPACES["user"]),
        "by clone3": lambda: call("clone3", None, 0),
        "that of process 1": enter,
    }


def keyctl(_, __):
    return {
        "the session's keyring": lambda: call("keyctl", 0, -3, 1),
        "a new key": lambda: call("add_key", b"user", b"attempt", b"x", 1, -3),
        "somebody's key": lambda: call("request_key", b"user", b"attempt", None, 0),
    }


def bpf(_, __):
    # An array of one entry; a program "return 0" for packets.
    array = struct.pack("<IIII", 2, 4, 4, 1)
    code = ctypes.create_string_buffer(bytes.fromhex("b700000000000000 9500000000000000"))
    licence = ctypes.create_string_buffer(b"GPL")
    packets = struct.pack("<IIQQ", 1, 2, ctypes.addressof(code), ctypes.addressof(licence))
    event = struct.pack("<II", 1, 112).ljust(112, b"\0")
    return {
        "a map": lambda: call("bpf", 0, array.ljust(128, b"\0"), 128),
        "a program": lambda: call("bpf", 5, packets.ljust(128, b"\0"), 128),
        "an event of the whole machine": lambda: call("perf_event_open", event, -1, 0, -1, 0),
    }


def modules(folder, _):
    empty = os.open(os.path.join(folder, "empty"), os.O_RDWR | os.O_CREAT)
    helpers = [
        "/proc/sys/kernel/modprobe",
        "/proc/sys/kernel/core_pattern",
        "/sys/kernel/uevent_helper",
        "/sys/fs/cgroup/release_agent",
        "/sys/fs/cgroup/memory/release_agent",
        "/sys/fs/cgroup/memory/notify_on_release",
    ]
    ways = {
        "from memory": lambda: call("init_module", b"", 0, b""),
        "from a file": lambda: call("finit_module", empty, b"", 0),
        "removal": lambda: call("delete_module", b"attempt", os.O_NONBLOCK),
    }
    return ways | {path: lambda path=path: open_for_writing(path) for path in helpers}


def layer(folder, _):
    def paths():
        """What the mounts of layers name, as paths."""
        with open("/proc/self/mountinfo") as mounts:
            options = [line.split(" - ")[1].split()[2] for line in mounts if " - overlay " in line]
        for option in ",".join(options).split(","):
            key, _, value = option.partition("=")
            if key.rstrip("+") in ("lowerdir", "upperdir", "workdir"):
                yield from (os.path.join("/", path) for path in value.split(":") if path)

    def by_path():
        for path in paths():
            # Anything there would be the host's: there are no such names in the image.
            os.listdir(path)
            return
        raise Refused("no path is named")

    def by_handle():
        """The root of the file system that a file of the host's lies in, by the number 2."""
        handle = struct.pack("<IiII", 8, 1, 2, 0)
        place = os.open("/etc/hostname", os.O_RDONLY)
        os.close(checked(libc.open_by_handle_at(place, handle, os.O_RDONLY)))

    def opaque():
        os.setxattr("/etc", "trusted.overlay.opaque", b"y")

    def write():
        """No escape by itself: the other container must not see it."""
        with open("/etc/passwd", "a") as file:
            file.write("attempt\n")
        os.link("/etc/os-release", os.path.join(folder, "linked"))
        with open(os.path.join(folder, "linked"), "a") as file:
            file.write("attempt\n")
        with open("/proc/self/root/etc/debian_version", "w") as file:
            file.write("attempt\n")
        try:
            os.truncate("/proc/1/root/etc/profile", 0)
        except PermissionError:
            # A process 1 that is not the application's lets nobody in.
            os.truncate("/etc/profile", 0)
        os.chmod("/etc/shadow", 0o666)
        os.rename("/etc/issue", "/etc/moved")
        shutil.rmtree("/usr/share/doc")
        os.symlink("/etc", "/usr/share/doc")

    write()
    return {
        "by the path of a layer": by_path,
        "by the handle of the disk's root": by_handle,
        "by a mark of overlayfs": opaque,
    }


ATTEMPTS = [mount, ptrace, sysrq, kcore, mknod, setuid, unshare, keyctl, bpf, modules, layer]


def answer(way):
    try:
        way()
    except Refused as refused:
        return f"refused: {refused}"
    except OSError as error:
        name = errno.errorcode.get(error.errno, error.errno)
        return f"refused: {name}" if error.errno in REFUSALS else f"done, {name} from behind"
    return "done"


def main():
    wanted, host = sys.argv[1], int(sys.argv[2])
    (attempt,) = [attempt for attempt in ATTEMPTS if attempt.__name__ == wanted]
    folder = tempfile.mkdtemp(dir="/")
    answers = {}
    for name, way in attempt(folder, host).items():
        # Each way in a child: one that succeeds must not help the next.
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            os.write(write, answer(way).encode())
            os._exit(0)
        os.close(write)
        with os.fdopen(read) as said:
            answers[name] = said.read() or "it died"
        os.waitpid(child, 0)
    print(json.dumps(answers))


main()
