"""`python -m harness.targets.node.logs SITE WORLD NAMESPACE...`: pods' output, as a log per component in a world.

The kubelet deletes a pod's log with the pod, and a report needs the last words of just those.
"""

from __future__ import annotations

import re
import sys
import time
from collections import defaultdict
from pathlib import Path

from harness.targets.node.plan import load

_LINE = re.compile(rb"^\S+ std(?:out|err) [FP] ?")
"""How containers' logs are kept (CRI): time, stream, and whether the line is whole."""
_BETWEEN_LOOKS = 0.2


class Follower:
    """Copies what is new at each poll."""

    def __init__(self, node_cluster: Path, logs: Path, namespaces: list[str]) -> None:
        """Nothing is read before the first poll. A component's log is called as its container."""
        self._folders = [load(node_cluster).of(machine) / "pod-logs" for machine in load(node_cluster).machines]
        self._logs = logs
        self._namespaces = namespaces
        self._read: dict[Path, int] = defaultdict(int)

    def poll(self) -> None:
        """Copy the whole lines that were added."""
        for folder in self._folders:
            for namespace in self._namespaces:
                for source in folder.glob(f"{namespace}_*/*/*.log"):
                    self._copy(source)

    def _copy(self, source: Path) -> None:
        try:
            with source.open("rb") as file:
                file.seek(self._read[source])
                new = file.read()
        except FileNotFoundError:  # deleted with its pod since it was listed
            return
        whole = new[: new.rfind(b"\n") + 1]
        if whole:
            self._read[source] += len(whole)
            with (self._logs / f"{source.parent.name}.log").open("ab") as target:
                target.write(b"".join(_LINE.sub(b"", line) for line in whole.splitlines(keepends=True)))


def main(node_cluster: Path, world: Path, namespaces: list[str]) -> None:
    """Look for ever."""
    follower = Follower(node_cluster, world / "logs", namespaces)
    while True:
        follower.poll()
        time.sleep(_BETWEEN_LOOKS)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:])
