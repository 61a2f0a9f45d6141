"""The code of README.md runs as it stands there; only the address is another."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
from pathlib import Path

README = Path(__file__).parents[2] / "README.md"


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README.read_text(), re.DOTALL | re.MULTILINE)


def test_the_two_commands_come_first() -> None:
    first = re.search(r"```sh\n(.*?)```", README.read_text(), re.DOTALL)
    assert first is not None
    assert [line.split("#")[0].strip() for line in first[1].splitlines()] == [
        "make demo",
        "make test",
    ]


def test_the_first_program_runs(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    program = tmp_path / "first.py"
    program.write_text(blocks("python")[0].replace("127.0.0.1:9001", address))

    run = subprocess.run(
        [sys.executable, "-W", "error", program],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )

    assert run.stderr == ""
    assert run.stdout.splitlines() == [
        "[{'name': 'Ada'}]",
        "hello Ada, number 1",
        "hello Grace, number 2",
    ]
    assert run.returncode == 0


def test_the_rust_program_is_the_tested_example() -> None:
    example = README.parent / "examples" / "rust" / "quickstart.rs"
    assert blocks("rust") == [example.read_text().split("\n\n", 1)[1]]
