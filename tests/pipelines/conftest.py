"""Chromium, for tests that look at pages as a browser shows them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import Any

import pytest


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium: that of playwright, or the one of the machine."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="pip install 'gristmill[browser]'")
    with sync_api.sync_playwright() as playwright:
        try:
            opened = playwright.chromium.launch(
                executable_path=shutil.which("chromium") or shutil.which("chromium-browser"), args=["--no-sandbox"]
            )
        except sync_api.Error as error:
            pytest.skip(f"no Chromium starts here: {error.message.splitlines()[0]}")
        yield opened
        opened.close()
