"""The server of the UI: on this machine alone, until Ctrl-C."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gristmill.operators.errors import RecipeError

if TYPE_CHECKING:
    from gristmill.pipelines.ui.site import SectionMaker

#: The address that is listened at: nobody else's machine reaches it.
HOST = "127.0.0.1"


def serve(
    store: str,
    port: int,
    cache: str | None,
    ready: Callable[[str], None],
    more: Callable[[], Sequence[SectionMaker]] = tuple,
) -> None:
    """Serve the pages of a store until a signal ends it; `ready` gets their URL once the port is open.

    With port 0 it is any free one. Indexes lie in `cache`, by default in the user's cache folder. `more` gives sections
    beside those that every store has. Raises RecipeError where the extra `ui` is not installed, or the port is taken.
    """
    try:
        import uvicorn

        from gristmill.pipelines.ui.app import SECTIONS, make_app
        from gristmill.pipelines.ui.cache import usual_cache
    except ImportError as error:
        raise RecipeError(f"{error.name} is not installed, which the UI needs: pip install 'gristmill[ui]'") from None
    sections = [*SECTIONS, *more()]
    listening = socket.socket()
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((HOST, port))
    except OSError as error:
        listening.close()
        raise RecipeError(
            f"port {port} of {HOST}: {error.strerror}; another one by --port, any free one by 0"
        ) from None
    app = make_app(store, usual_cache() if cache is None else Path(cache).expanduser().absolute(), sections)
    config = uvicorn.Config(app, log_level="warning", access_log=False, server_header=False, lifespan="off")
    listening.listen()
    ready(f"http://{HOST}:{listening.getsockname()[1]}/")
    uvicorn.Server(config).run([listening])
