"""The code blocks of dqlite-client's README and package page, as published, on real nodes."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.cluster


@pytest.mark.parametrize("block", ["readme_usage", "package_usage"])
def test_usage_prints_rows_as_dicts(page, trio, block, capsys) -> None:
    """On a follower's address, too: it is where the search for the leader begins."""
    for n, address in enumerate(trio.addresses, 1):
        page(block, {}, replace={"localhost:9001": address})
        last = capsys.readouterr().out.splitlines()[-1]
        assert last == str({"id": n, "name": "hello"})


@pytest.mark.parametrize("block", ["readme_pool", "package_pool"])
async def test_pool(page, trio, block) -> None:
    names: dict = {}
    published = [f"localhost:900{i}" for i in (1, 2, 3)]
    await page(block, names, replace=dict(zip(published, trio.addresses, strict=True)))
    assert names["rows"] == [{"1": 1}]
    await names["pool"].close()


async def test_pool_with_one_node_down(page, own_trio) -> None:
    own_trio.leader().stop()
    names: dict = {}
    published = [f"localhost:900{i}" for i in (1, 2, 3)]
    await page("package_pool", names, replace=dict(zip(published, own_trio.addresses, strict=True)))
    assert names["rows"] == [{"1": 1}]
    await names["pool"].close()
