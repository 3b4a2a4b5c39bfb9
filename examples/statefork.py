"""StateFork from Python: commands and their JSON documents, and what they took.

`Commands` runs a process for each command, from any thread. `Shell` sends all of them through one
`statefork --json shell`. Both have the same methods, keep the books of what was spent, and need nothing
but the standard library. Which environment is meant, the variables STATEFORK_HOME, STATEFORK_RUNTIME and
STATEFORK_ENVIRONMENT say, and the configuration, as for every command.
"""

import argparse
import contextlib
import json
import os
import secrets
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


class Failed(Exception):
    """A command of ours failed; `document` is its error (docs/errors.md)."""

    def __init__(self, words: tuple[str, ...], document: dict):
        self.document = document["error"]
        causes = [self.document["message"], *self.document["causes"]]
        super().__init__(f"{shlex.join(words)}: " + ": ".join(causes))


class Spent:
    """How long operations took, by name, as their documents say it, in milliseconds."""

    def __init__(self) -> None:
        self.begun = time.monotonic()
        self.lock = threading.Lock()
        # Of each operation the times of the single ones, and of the commands that did them.
        self.single: dict[str, list[float]] = {}
        self.whole: dict[str, float] = {}

    def add(self, words: tuple[str, ...], document: dict) -> None:
        """Adds what a document tells of time, if it does."""
        if "duration_ms" not in document:
            return
        name = next(word for word in words if not word.startswith("-"))
        # A fork's forks are made side by side: each has its own time, and the command has one.
        parts = [part for part in document.get("forks", [document]) if "duration_ms" in part]
        with self.lock:
            self.single.setdefault(name, []).extend(part["duration_ms"] for part in parts)
            self.whole[name] = self.whole.get(name, 0) + document["duration_ms"]

    def report(self) -> str:
        """A table, with the share that restores and forks have of the time since the beginning."""
        whole = (time.monotonic() - self.begun) * 1000
        lines = [f"{'spent on':16}{'count':>7}{'total':>12}{'median':>12}"]
        for name, times in sorted(self.single.items()):
            median = statistics.median(times) if times else 0
            lines.append(f"{name:16}{len(times):7}{self.whole[name]:9.0f} ms{median:9.1f} ms")
        moving = sum(self.whole.get(name, 0) for name in ("restore", "branch promote", "fork"))
        share = 100 * moving / whole
        lines.append(f"{'everything':23}{whole:9.0f} ms, {share:.0f} % of it for restores and forks")
        return "\n".join(lines)


class Statefork:
    """What commands and the shell have in common."""

    def __init__(self, program: str):
        self.program = program
        self.spent = Spent()

    def call(self, *words: str, branch: str | None = None) -> dict:
        """Runs a command and returns its document, or raises `Failed`."""
        document = self.run(words, branch)
        if "error" in document:
            raise Failed(words, document)
        self.spent.add((" ".join(words[:2]),) if words[0] == "branch" else words, document)
        return document

    def run(self, words: tuple[str, ...], branch: str | None) -> dict:
        """Runs a command and returns its document."""
        raise NotImplementedError

    def sh(self, script: str, branch: str | None = None) -> tuple[int, str]:
        """Runs a shell script in the container; its exit code and what it wrote."""
        document = self.call("exec", "--", "sh", "-c", script, branch=branch)
        return document["exit_code"], document["stdout"]

    def score(self, script: str, branch: str | None = None) -> float | None:
        """The number that a shell script in the container writes last; `None` if it fails."""
        code, output = self.sh(script, branch)
        return None if code else number(output)


class Commands(Statefork):
    """A process for each command. Many may run at once."""

    def run(self, words: tuple[str, ...], branch: str | None) -> dict:
        on = [] if branch is None else ["-b", branch]
        command = [self.program, "--json", "-q", *on, *words]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        if not done.stdout:
            raise SystemExit(f"{shlex.join(command)} ended with {done.returncode}")
        return json.loads(done.stdout)


class Shell(Statefork):
    """One process for all commands, one after the other: a line in, a document on a line out."""

    def __init__(self, program: str):
        super().__init__(program)
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self.process = subprocess.Popen([program, "--json", "-q", "shell"], **pipes)
        self.branch: str | None = None

    def run(self, words: tuple[str, ...], branch: str | None) -> dict:
        if branch is not None and branch != self.branch:
            self.branch = branch
            self.call("switch", branch)
        if any("\n" in word for word in words):
            raise ValueError("a line of the shell has no room for a line break")
        self.process.stdin.write(shlex.join(words) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"the shell ended with {self.process.wait()}")
        return json.loads(line)

    def close(self) -> None:
        """Ends the shell; containers go on running."""
        self.process.stdin.close()
        self.process.wait()


def number(output: str) -> float | None:
    """The last line of an output as a number; `None` if it is none."""
    lines = output.split("\n")
    with contextlib.suppress(ValueError):
        return float(next(line for line in reversed(lines) if line.strip()))
    return None


def find_program() -> str:
    """The program of this folder's build, else the one that is installed."""
    built = [ROOT / "target" / profile / "statefork" for profile in ("release", "debug")]
    found = [str(path) for path in built if path.exists()] or [shutil.which("statefork")]
    return found[0] or "statefork"


def parser(description: str) -> argparse.ArgumentParser:
    """A command line with the options that all examples have."""
    made = argparse.ArgumentParser(
        description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    made.add_argument("--statefork", default=find_program(), metavar="PROGRAM", help="the program")
    made.add_argument(
        "--up",
        metavar="ARCHIVE",
        help="bring the image of an archive up on native, in an environment that is taken away at the end; "
        "without it the environment has to be up",
    )
    return made


@contextlib.contextmanager
def environment(arguments: argparse.Namespace) -> Iterator[None]:
    """The environment that is up, or one for as long as this takes."""
    if arguments.up is None:
        yield
        return
    archive = Path(arguments.up).resolve()
    with tempfile.TemporaryDirectory(prefix="statefork-") as home:
        name = f"example-{secrets.token_hex(4)}"
        os.environ |= {
            "STATEFORK_HOME": home,
            "STATEFORK_RUNTIME": "native",
            "STATEFORK_ENVIRONMENT": name,
        }
        commands = Commands(arguments.statefork)
        image = commands.call("image", "import", str(archive))["names"][0]
        try:
            # With a process 1 that hears a polite stop, whatever the application does.
            commands.call("up", "--init", image)
            yield
        finally:
            commands.call("down", "--purge")


def main(work) -> None:
    """Runs an example; what failed is told in a line."""
    try:
        work()
    except Failed as failed:
        print(f"error: {failed}", file=sys.stderr)
        sys.exit(failed.document["exit_code"])
