#!/usr/bin/env python3
"""Best of N: fork the application, let each fork try, keep the one that did best.

    python3 examples/best_of_n.py --up target/xtask/target-app.tar
    python3 examples/best_of_n.py -n 4 --attempt './solve --seed $ATTEMPT' --score './check'

An attempt and a score are shell commands in a fork's container. The attempt has its number, from 1, in
ATTEMPT. The score is the number that its command writes last; the highest wins, and an attempt or a score
that ends otherwise than with 0 is out. `--score-outside` runs the score's command on this machine instead,
with the fork's name in BRANCH and the host's port for its first published one in PORT.
"""

import os
import secrets
import subprocess
from concurrent.futures import ThreadPoolExecutor

from statefork import Commands, environment, main, number, parser

ATTEMPT = "echo $(( (ATTEMPT * 7919 + 4729) % 1000 )) > /tmp/answer"
SCORE = "cat /tmp/answer"


def arguments():
    """The command line."""
    made = parser("Fork the application N times, let each fork try, and keep the best.")
    made.add_argument("-n", type=int, default=4, help="how many attempts")
    made.add_argument("--attempt", default=ATTEMPT, help="a shell command in each fork")
    made.add_argument("--score", default=SCORE, help="a shell command in each fork")
    made.add_argument("--score-outside", metavar="COMMAND", help="a shell command on this machine")
    made.add_argument("--lowest", action="store_true", help="the lowest score wins")
    made.add_argument("--keep", action="store_true", help="promote nothing and remove nothing")
    return made.parse_args()


def outside(command: str, fork: dict) -> float | None:
    """The score of a fork by a command of this machine."""
    port = str(fork["ports"][0]["host"]) if fork["ports"] else ""
    env = os.environ | {"BRANCH": fork["branch"], "PORT": port}
    done = subprocess.run(command, shell=True, env=env, stdout=subprocess.PIPE, text=True)
    return None if done.returncode else number(done.stdout)


def work() -> None:
    """Forks, tries, scores, promotes, removes."""
    args = arguments()
    with environment(args):
        statefork = Commands(args.statefork)
        prefix = f"try-{secrets.token_hex(4)}x"
        # With one fork the prefix is its whole name.
        pattern = f"{prefix}*"
        try:
            forked = statefork.call("fork", "-n", str(args.n), "--name", prefix)
            forks = [fork for fork in forked["forks"] if "error" not in fork]

            def attempt(numbered: tuple[int, dict]) -> float | None:
                index, fork = numbered
                branch = fork["branch"]
                code, _ = statefork.sh(f"ATTEMPT={index}; export ATTEMPT; {args.attempt}", branch)
                if code:
                    return None
                if args.score_outside:
                    return outside(args.score_outside, fork)
                return statefork.score(args.score, branch)

            with ThreadPoolExecutor(max_workers=len(forks) or 1) as pool:
                scores = list(pool.map(attempt, enumerate(forks, 1)))
            ranked = [(score, fork["branch"]) for score, fork in zip(scores, forks) if score is not None]
            for index, score in enumerate(scores, 1):
                print(f"attempt {index}: {'failed' if score is None else f'{score:g}'}")
            if not ranked:
                raise SystemExit("no attempt has a score")
            score, best = (min if args.lowest else max)(ranked)
            if args.keep:
                print(f"best: {score:g}, on branch {best}")
                return
            # What is promoted is the branch's head: the snapshot of what the attempt has made.
            statefork.call("snapshot", "-m", f"best of {args.n}: {score:g}", branch=best)
            statefork.call("branch", "promote", best)
            print(f"best: {score:g}, now on branch main")
        finally:
            if not args.keep:
                names = [branch["name"] for branch in statefork.call("branch")["branches"]]
                if any(name.startswith(prefix) for name in names):
                    statefork.call("branch", "rm", pattern)
            print(statefork.spent.report())


if __name__ == "__main__":
    main(work)
