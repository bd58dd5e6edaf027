"""Errors, named by what the runner does about them.

    GristmillError
    ├── RecipeError      the request is wrong: nothing was started
    ├── ShardError       one shard cannot be read or measured: the others go on, the run ends non-zero
    ├── RetryableError   a passing failure (network, a busy store): tried again a bounded number of times
    │   └── GaveUp       the same, tried as often as it is worth
    └── FatalError       the run cannot go on
        ├── StoreLocked  another run is writing to this store
        └── StoreDamaged a file of the store is not what was written, or is gone

A message says what was asked, what was found and what to do.
"""


class GristmillError(Exception):
    """The root of every error that gristmill raises on purpose."""

    def _render_traceback_(self) -> list[str]:
        """Return what notebooks show (IPython asks for it by this name): the message, without the code that noticed."""
        return [f"{type(self).__name__}: {self}"]


class RecipeError(GristmillError):
    """The recipe, the command line or a file they name is wrong; nothing was started."""


class ShardError(GristmillError):
    """One shard cannot be used; the message names the file and the remedy."""


class RetryableError(GristmillError):
    """A failure that may pass; engines try the item again a bounded number of times."""


class GaveUp(RetryableError):
    """A failure that may pass and did not, however often it was tried; engines do not try the item again."""


class FatalError(GristmillError):
    """The run cannot go on; what it finished is kept in the store."""


class StoreLocked(FatalError):
    """Another run holds the store's writer lock."""


class StoreDamaged(FatalError):
    """A file of the store is not what was written, or is gone; `url` names it and the message says the way back."""

    def __init__(self, url: str, message: str) -> None:
        super().__init__(url, message)
        self.url = url

    def __str__(self) -> str:
        return str(self.args[1])


class StoreFileGone(StoreDamaged, FileNotFoundError):
    """A file that the store relies on is not there."""
