"""A page in the browser of whoever sits at the machine."""

from __future__ import annotations

import tempfile
import webbrowser
from pathlib import Path

from gristmill.operators.errors import RecipeError
from gristmill.pipelines.storage import files


def show(url: str) -> None:
    """Open a page in the browser; one that is not on the local disk is fetched first.

    Raises RecipeError where there is no browser.
    """
    path = files.local_path(url)
    if not files.is_local(url):
        with tempfile.NamedTemporaryFile(prefix="gristmill-", suffix=".html", delete=False) as file:
            file.write(files.read_bytes(url))
        path = file.name
    if not webbrowser.open(Path(path).absolute().as_uri()):
        raise RecipeError(f"no browser is known here; the report is in {path}")
