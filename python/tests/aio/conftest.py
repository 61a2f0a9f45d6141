"""Conditions that tasks wait for."""

from __future__ import annotations

import asyncio

import pytest


@pytest.fixture(scope="session")
def eventually():
    """Wait for a condition while other tasks run."""

    async def wait(holds, seconds=20):
        deadline = asyncio.get_running_loop().time() + seconds
        while True:
            if holds():
                return
            assert asyncio.get_running_loop().time() < deadline, "it never became true"
            await asyncio.sleep(0.002)

    return wait
