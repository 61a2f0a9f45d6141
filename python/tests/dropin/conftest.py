"""Real nodes on ports of the system's choice, and the code blocks of the published pages."""

from __future__ import annotations

import ast
import contextlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import dqlitepy

PAGES = Path(__file__).parent / "pages"


@pytest.fixture
def page() -> Iterator[Callable[..., Any]]:
    """Run a block of a page in a namespace, after substituting addresses and directories.

    The prompts of an interactive example are taken off. What the block leaves open is closed at
    the end of the test. A block with ``await`` gives its coroutine.
    """
    spaces: list[dict[str, Any]] = []

    def run(name: str, names: dict[str, Any], **replacements: Any) -> Any:
        text = (PAGES / f"{name}.txt").read_text()
        for old, new in replacements.pop("replace", {}).items():
            assert old in text
            text = text.replace(old, str(new))
        spaces.append(names)
        code = compile(source(text), name, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        return eval(code, names)

    yield run
    for names in spaces:
        for value in [names.pop(name) for name in list(names)]:
            if isinstance(value, (dqlitepy.Node, dqlitepy.Client)):
                value.close()


def source(text: str) -> str:
    """The statements of a block; what an interactive example prints is not one."""
    if ">>>" not in text:
        return text
    lines = [line for line in text.splitlines() if line.startswith((">>>", "..."))]
    return "\n".join(line[4:] for line in lines) + "\n"


@pytest.fixture(scope="session")
def printed() -> Callable[[str], str]:
    """What a page says that an interactive example prints."""

    def lines(name: str) -> str:
        text = (PAGES / f"{name}.txt").read_text()
        outputs = [line for line in text.splitlines() if not line.startswith((">>>", "..."))]
        return "\n".join(outputs) + "\n"

    return lines


@pytest.fixture
def node(tmp_path: Path, addresses) -> Iterator[dqlitepy.Node]:
    """A started node that is a database of its own."""
    with dqlitepy.Node(addresses(1)[0], tmp_path / "node", node_id=1) as started:
        started.open_db()
        yield started


class Trio:
    """Three nodes that are one cluster, and a client of it."""

    def __init__(self, directory: Path, addresses: list[str]) -> None:
        self.addresses = addresses
        self.nodes = [
            dqlitepy.Node(address, directory / str(i), cluster=self.addresses)
            for i, address in enumerate(addresses)
        ]

    def leader(self) -> dqlitepy.Node:
        with dqlitepy.Client(self.addresses) as client:
            address = client.leader()
        return next(node for node in self.nodes if node.address == address)

    def follower(self) -> dqlitepy.Node:
        leader = self.leader()
        return next(node for node in self.nodes if node is not leader)

    def voters(self) -> int:
        with dqlitepy.Client(self.addresses) as client:
            return sum(member.role_name == "Voter" for member in client.cluster())


@contextlib.contextmanager
def running_trio(
    directory: Path, addresses: list[str], until: Callable[..., Any]
) -> Iterator[Trio]:
    trio = Trio(directory, addresses)
    try:
        with ThreadPoolExecutor(3) as starters:
            list(starters.map(dqlitepy.Node.start, trio.nodes))
        until(lambda: trio.voters() == 3)
        yield trio
    finally:
        for node in trio.nodes:
            node.close()


@pytest.fixture(scope="module")
def trio(tmp_path_factory: pytest.TempPathFactory, addresses, until) -> Iterator[Trio]:
    """A cluster shared by the tests of a file: they leave all three nodes running."""
    with running_trio(tmp_path_factory.mktemp("trio"), addresses(3), until) as running:
        yield running


@pytest.fixture
def own_trio(tmp_path: Path, addresses, until) -> Iterator[Trio]:
    """A cluster that a test may hurt."""
    with running_trio(tmp_path, addresses(3), until) as running:
        yield running
