#!/usr/bin/env python3
"""A small depth-first search over what can be done to a running application.

    python3 examples/depth_first.py --up target/xtask/target-app.tar
    python3 examples/depth_first.py --action ./left --action ./right --score ./at --goal 1

An action and the score are shell commands in the container. From each state every action is tried, the
first one first; one that ends otherwise than with 0 cannot be done there. The search goes deeper from what
an action has made, and back by `restore`, until a score reaches the goal; then the application stays there.
Without a solution it is back where it began. All commands go through one process, `statefork --json shell`;
`--simple` runs a process for each.
"""

from statefork import Commands, Shell, Statefork, environment, main, parser

# From 1 to 17 by doubling and adding five.
READ = "n=$(cat /tmp/number 2>/dev/null || echo 1)"
ACTIONS = [
    f"{READ}; echo $((n * 2)) > /tmp/number",
    f"{READ}; echo $((n + 5)) > /tmp/number",
]
SCORE = f"{READ}; d=$((n - 17)); echo $((d < 0 ? d : -d))"


def arguments():
    """The command line."""
    made = parser("Search depth first for a state of the application with a score.")
    made.add_argument("--action", action="append", help="a shell command in the container; several times")
    made.add_argument("--score", help="a shell command in the container that writes a number")
    made.add_argument("--goal", type=float, default=0, help="the score to reach")
    made.add_argument("--depth", type=int, default=4, help="how many actions at most")
    made.add_argument("--simple", action="store_true", help="a process for each command")
    args = made.parse_args()
    args.action, args.score = args.action or ACTIONS, args.score or SCORE
    return args


class Search:
    """The search and what it has seen."""

    def __init__(self, statefork: Statefork, args):
        self.statefork = statefork
        self.args = args
        self.states = 0
        self.best: tuple[float, list[int]] | None = None

    def run(self) -> list[int] | None:
        """The numbers of the actions that lead to the goal; `None` if none do."""
        return self.deeper([], self.statefork.call("snapshot", "-m", "where the search begins")["id"])

    def deeper(self, path: list[int], here: str) -> list[int] | None:
        """Tries every action from the snapshot `here`, which the application is at."""
        for index, action in enumerate(self.args.action, 1):
            found = self.attempt([*path, index], action)
            if found:
                return found
            self.statefork.call("restore", here)
        return None

    def attempt(self, path: list[int], action: str) -> list[int] | None:
        """Does one action and goes on from there."""
        self.states += 1
        code, _ = self.statefork.sh(action)
        score = None if code else self.statefork.score(self.args.score)
        if score is None:
            return None
        print(f"{'  ' * len(path)}{path}: {score:g}")
        if self.best is None or score > self.best[0]:
            self.best = (score, path)
        if score >= self.args.goal:
            return path
        if len(path) == self.args.depth:
            return None
        return self.deeper(path, self.statefork.call("snapshot", "-m", f"after {path}")["id"])


def work() -> None:
    """Searches."""
    args = arguments()
    with environment(args):
        statefork = (Commands if args.simple else Shell)(args.statefork)
        search = Search(statefork, args)
        try:
            found = search.run()
        finally:
            if isinstance(statefork, Shell):
                statefork.close()
        if found:
            print(f"found after {search.states} states: actions {found}")
        else:
            print(f"not found in {search.states} states; the best was {search.best}")
        print(statefork.spent.report())


if __name__ == "__main__":
    main(work)
