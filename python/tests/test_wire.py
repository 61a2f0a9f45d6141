"""Captures read and made from Python, against frames that real servers sent."""

from __future__ import annotations

import doctest
import json
import os
import random
import re
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import dqlite
from dqlite import wire

ROOT = Path(__file__).parents[2]
ROLES = ["voter", "stand-by", "spare"]


class Block(NamedTuple):
    """One golden frame: what it is called, what is known of it, its bytes."""

    name: str
    keys: dict[str, str]
    data: bytes

    @property
    def kind(self) -> str:
        return self.keys["message"]

    @property
    def direction(self) -> wire.Direction:
        return "requests" if self.keys["dir"] == "c2s" else "replies"


def read(text: str) -> list[Block]:
    blocks = []
    for name, body in re.findall(r"^== (\S+)\n(.*?)(?=^== |\Z)", text, re.DOTALL | re.MULTILINE):
        keys = dict(re.findall(r"^([a-zA-Z.]+): (.*)$", body, re.MULTILINE))
        words = re.findall(r"^\| ([0-9a-f]+)(?:\*(\d+))?", body, re.MULTILINE)
        data = b"".join(bytes.fromhex(word) * int(times or 1) for word, times in words)
        blocks.append(Block(name, keys, data))
    return blocks


def value(pair: list[Any]) -> wire.Value:
    make = {
        "i": int,
        "f": float,
        "s": str,
        "b": bytes.fromhex,
        "n": lambda: None,
        "u": wire.UnixTime,
        "d": wire.Iso8601,
        "t": wire.Boolean,
    }
    return make[pair[0]](*pair[1:])


def fields(block: Block) -> dict[str, Any]:
    """What the golden file says of the frame, in our words."""
    told = json.loads(block.keys["json"]) if "json" in block.keys else {}
    words = {"stmt": "statement", "servers": "nodes", "heartbeat_timeout": "heartbeat_timeout_ms"}
    told = {words.get(name, name): told[name] for name in told}
    if block.kind in {"EXEC", "QUERY", "EXEC_SQL", "QUERY_SQL"}:
        told["params"] = [value(pair) for pair in told["params"] or []]
    if block.kind == "FINALIZE":
        del told["params"]
    if block.kind == "DB":
        told["id"] = told["db"]
    if block.kind == "STMT":
        told.setdefault("tail", None)
    if block.kind == "ASSIGN":
        told["role"] = ROLES[told["role"]]
    if block.kind == "SERVERS":
        told["nodes"] = [
            (node["id"], node["address"], *(ROLES[r] for r in [node.get("role")] if r is not None))
            for node in told["nodes"]
        ]
    if block.kind == "ROWS":
        told["rows"] = [tuple(map(value, row)) for row in told["rows"]]
        told["done"] = told.pop("last")
    if block.kind == "FILES":
        told["files"] = [(f["name"], bytes.fromhex(f.get("hex", ""))) for f in told["files"]]
    return {name: told[name] for name in told if name not in {"db", "prefix_words"}}


GOLDEN = [
    block
    for path in sorted((ROOT / "crates/dqlite-proto/tests/golden").glob("*.txt"))
    for block in read(path.read_text())
]
UNTOLD = {
    "server/legacy",  # only the request tells what it is
    "handshake/unknown",
    "exec_sql/tag9",  # a Unix time as parameter
    "query_sql/tag9",
}
SOUND = [b for b in GOLDEN if not b.kind.startswith("(") and b.name not in UNTOLD]
NOT_OUR_BYTES = {
    "query_sql/explicit_n0",  # a tuple without values, where we send none
    "rows/dirty_blob_padding",
}
NOT_JSON = {"rows/not_utf8", "rows/part255", "rows/done45"}


def by_name(block: Block) -> str:
    return block.name


@pytest.mark.parametrize("block", SOUND, ids=by_name)
def test_a_golden_frame_is_read_and_made_again(block):
    (message,) = wire.decode(block.data, block.direction)
    assert message.error is None
    assert message.name == ("ASSIGN" if block.kind == "PROMOTE" else block.kind)
    assert message.schema == int(block.keys.get("schema", 0))
    if block.name not in NOT_JSON:
        named = {"name": message.fields["name"]} if block.kind == "FAILURE" else {}
        assert message.fields == fields(block) | named
    made = message.encode()
    assert wire.decode(made, block.direction) == [message]
    if block.name not in NOT_OUR_BYTES and "prefix" not in block.name:
        assert made == block.data


# The first word of a LEADER is the handshake, unless the second is there.
@pytest.mark.parametrize("block", [b for b in GOLDEN if b.kind != "LEADER"], ids=by_name)
def test_a_capture_cut_anywhere_says_so(block):
    starts = [message.at for message in wire.decode(block.data, block.direction)]
    for cut in range(1, min(len(block.data), 300)):
        messages = wire.decode(block.data[:cut], block.direction)
        assert [m.at for m in messages] == [at for at in starts if at < cut]
        is_whole = cut in starts or messages[-1].name == "HANDSHAKE"
        assert (messages[-1].error is None) == is_whole


@pytest.mark.parametrize("block", [b for b in GOLDEN if "badreply" in b.name], ids=by_name)
def test_a_malformed_reply_is_told_and_passed_over(block):
    capture = block.data + wire.encode("EMPTY")
    first, *rest = wire.decode(capture, "replies")
    assert first.error
    assert [message.name for message in rest] == ([] if first.name == "" else ["EMPTY"])
    with pytest.raises(dqlite.ProgrammingError, match="error cannot be encoded"):
        first.encode()


@pytest.mark.parametrize("seed", [int(os.environ.get("SEED", random.randrange(2**32)))])
def test_no_byte_makes_it_raise(seed):
    chance = random.Random(seed)
    blocks = [block for block in GOLDEN if block.data]
    for _ in range(3000):
        block = chance.choice(blocks)
        data = bytearray(block.data)
        for _ in range(chance.randrange(1, 4)):
            data[chance.randrange(len(data))] = chance.choice([0, 1, 255, chance.randrange(256)])
        for message in wire.decode(bytes(data), block.direction):
            assert message.error is None or message.error
        wire.trace(bytes(data), block.direction)


def test_rows_in_front_of_a_malformed_one_are_there():
    columns = ["a", "b"]
    data = bytearray(wire.encode("ROWS", columns=columns, rows=[(1, 2), (3, 4)]))
    tags = data.rindex((3).to_bytes(8, "little")) - 8
    data[tags] = 0
    (message,) = wire.decode(bytes(data))
    assert message.fields == {"columns": columns, "rows": [(1, 2)], "done": True}
    assert "unknown value tag" in (message.error or "")


def test_values_come_back_with_their_types():
    row = (-(2**63), 1.5, "né", "\udcff", b"\0\xff", None, "", b"")
    times = (wire.UnixTime(-1), wire.Iso8601("2024"), wire.Boolean(2**64 - 1), wire.Iso8601(""))
    columns = [str(at) for at in range(12)]
    data = wire.encode("ROWS", columns=columns, rows=[row + times, times + row], done=False)
    (message,) = wire.decode(data)
    assert message.fields["rows"] == [row + times, times + row]
    assert [type(v) for v in message.fields["rows"][0]] == [type(v) for v in row + times]
    assert message.fields["done"] is False
    assert wire.UnixTime(1) != wire.Boolean(1)


def test_a_capture_of_a_session_is_read_in_both_directions():
    params = [1, 2.0, "x", b"y", None, wire.Boolean(1), wire.Iso8601("2024-01-01")]
    sent = [
        ("HANDSHAKE", {"version": 1}),
        ("OPEN", {"name": "app", "flags": 0, "vfs": ""}),
        ("ASSIGN", {"id": 2, "role": "stand-by"}),
        ("ASSIGN", {"id": 2}),
        ("QUERY_SQL", {"sql": "SELECT ?", "params": params}),
    ]
    requests = b"".join(wire.encode(name, **fields) for name, fields in sent)
    assert requests.startswith(wire.HANDSHAKE)
    assert [(m.name, m.fields) for m in wire.decode(requests)] == sent
    answered = [
        ("DB", {"id": 0}),
        ("SERVERS", {"nodes": [(1, "a:1", "voter"), (2, "b:2", "spare")]}),
        ("SERVERS", {"nodes": [(1, "a:1"), (2, "b:2")]}),
        ("FILES", {"files": [("app", b"12345678"), ("app-wal", b"")]}),
        ("STMT", {"id": 1, "params": 2, "tail": 7}),
    ]
    replies = b"".join(wire.encode(name, **fields) for name, fields in answered)
    assert [(m.name, m.fields) for m in wire.decode(replies)] == answered


def test_the_schema_is_what_the_fields_need():
    (few,) = wire.decode(wire.encode("EXEC", statement=1, params=[0] * 255), "requests")
    (many,) = wire.decode(wire.encode("EXEC", statement=1, params=[0] * 256), "requests")
    assert (few.schema, many.schema) == (0, 1)
    (asked,) = wire.decode(wire.encode("PREPARE", schema=1, sql="SELECT 1"), "requests")
    assert asked.schema == 1


PROGRAMMING = {
    "there is no message named": ("HELLO", {}),
    "QUERY_SQL needs the field sql": ("QUERY_SQL", {"params": []}),
    "QUERY_SQL has no field text: it has sql, params": ("QUERY_SQL", {"sql": "", "text": ""}),
    "LEADER has no field id: it has none": ("LEADER", {"id": 1}),
    "CLIENT, field id: an int is needed, not str": ("CLIENT", {"id": "1"}),
    r"EXEC, field params\[1\]: a value is needed, not set": (
        "EXEC",
        {"statement": 1, "params": [1, set()]},
    ),
    "EXEC, field params: a list or tuple is needed, not str": (
        "EXEC",
        {"statement": 1, "params": "12"},
    ),
    r"SERVERS, field nodes\[1\]: \(id, address, role\)": (
        "SERVERS",
        {"nodes": [(1, "a", "voter"), (2, "b")]},
    ),
    "RESULT with these fields has schema 0, not 1": (
        "RESULT",
        {"schema": 1, "last_insert_id": 0, "rows_affected": 0},
    ),
    "schema must be a number from 0 to 255, got 256": ("LEADER", {"schema": 256}),
    "ROWS, field done: a bool is needed, not int": ("ROWS", {"columns": [], "rows": [], "done": 1}),
    r"FILES, field files\[0\]: bytes is needed, not str": ("FILES", {"files": [("a", "b")]}),
}

DATA = {
    "CLIENT, field id: -1 is not between 0 and 18446744073709551615": ("CLIENT", {"id": -1}),
    "DUMP, field name: text with a NUL": ("DUMP", {"name": "a\0"}),
    "DUMP, field name: text is not valid UTF-8": ("DUMP", {"name": "\udcff"}),
    'ASSIGN, field role: "boss" is none of voter': ("ASSIGN", {"id": 1, "role": "boss"}),
    r"EXEC, field params\[0\]: a Unix time": (
        "EXEC",
        {"statement": 1, "params": [wire.UnixTime(1)]},
    ),
    "EXEC: 256 parameters": ("EXEC", {"schema": 0, "statement": 1, "params": [0] * 256}),
    r"ROWS, field rows\[1\]: 1 values for 2 columns": (
        "ROWS",
        {"columns": ["a", "b"], "rows": [(1, 2), (1,)]},
    ),
    r"ROWS, field rows\[0\]\[1\]: 9223372036854775808 is not between": (
        "ROWS",
        {"columns": ["a", "b"], "rows": [(1, 2**63)]},
    ),
    "ROWS, field rows: only the last part": ("ROWS", {"columns": ["a"], "rows": [], "done": False}),
    r"FILES, field files\[0\]: 1 bytes are not whole words": ("FILES", {"files": [("a", b"b")]}),
    "FAILURE, field name: no result code is named": ("FAILURE", {"name": "OOPS", "message": ""}),
    "FAILURE, field name: the result code 1 has another name": (
        "FAILURE",
        {"code": 1, "name": "SQLITE_BUSY", "message": ""},
    ),
    "FAILURE, field code: 65536 is not between": ("FAILURE", {"code": 65536, "message": ""}),
    "HANDSHAKE, field version: unknown protocol version 0x2": ("HANDSHAKE", {"version": 2}),
}


@pytest.mark.parametrize("text", PROGRAMMING)
def test_a_wrong_message_is_a_programming_error(text):
    name, fields = PROGRAMMING[text]
    with pytest.raises(dqlite.ProgrammingError, match=f"^{text}"):
        wire.encode(name, **fields)


@pytest.mark.parametrize("text", DATA)
def test_what_the_protocol_cannot_carry_is_a_data_error(text):
    name, fields = DATA[text]
    with pytest.raises(dqlite.DataError, match=f"^{text}"):
        wire.encode(name, **fields)


def test_directions_and_rows_are_checked():
    for call in (wire.decode, wire.trace):
        with pytest.raises(dqlite.ProgrammingError, match='got "up"'):
            call(b"", "up")
    with pytest.raises(dqlite.ProgrammingError, match="negative"):
        wire.trace(b"", rows=-1)


@pytest.mark.parametrize("direction", ["requests", "replies"])
def test_the_trace_is_what_the_executable_prints(direction, tmp_path):
    capture = tmp_path / "capture"
    capture.write_bytes(b"".join(b.data for b in SOUND if b.direction == direction))
    command = [Path(dqlite.__file__).parent / "_bin/dqlite", "wire", "decode", capture]
    options = ["--direction", direction, "--rows", "3"]
    run = subprocess.run([*command, *options], capture_output=True, text=True, check=True)
    assert wire.trace(capture.read_bytes(), direction, rows=3) == run.stdout


def test_the_examples_run():
    assert doctest.testmod(wire).failed == 0
    assert doctest.testmod(wire).attempted > 8


def test_what_every_message_has_is_documented():
    told = {name for block in SOUND for name in [block.kind] if name != "PROMOTE"}
    assert told <= set(re.findall(r"\b[A-Z_]{2,}\b", wire.__doc__ or ""))
