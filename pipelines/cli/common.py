"""Parts that commands share: consoles, errors with their exit codes, the options that several take."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from gristmill.operators.errors import GristmillError, RecipeError, ShardError, StoreLocked
from gristmill.pipelines.config.quoting import printable_json
from gristmill.pipelines.engine.signals import Ended
from gristmill.pipelines.progress.console import make_console

if TYPE_CHECKING:  # commands that print no table start without Arrow
    import pyarrow as pa

    from gristmill.pipelines.progress.events import EventReporter
    from gristmill.pipelines.progress.reporter import Reporter

EXIT_CODES: dict[type[BaseException], int] = {RecipeError: 2, ShardError: 3, StoreLocked: 4}
#: The exit code of a night whose version a guard holds back.
UNPUBLISHED = 5
#: Address space that threads, DuckDB, Arrow and compiled code reserve on a small machine. With less they hang or crash.
ADDRESS_SPACE = 4 << 30
MORE_MEMORY = "Give this process more, or fewer --workers"
#: Characters of a line of a message.
LONGEST_LINE = 2000
out = make_console()
err = make_console(stderr=True)


class EngineChoice(StrEnum):
    """Engine that does the work."""

    auto = "auto"
    local = "local"
    ray = "ray"


class ProgressChoice(StrEnum):
    """Form of progress reports."""

    auto = "auto"
    json = "json"
    plain = "plain"
    none = "none"


RecipePath = Annotated[str, typer.Argument(metavar="RECIPE", help="The recipe, a YAML file.", show_default=False)]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="Override a value of the recipe, such as decide.select.documents=500."
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Store = Annotated[str, typer.Option("--store", help="The store's folder or URL.")]
Unsafe = Annotated[bool, typer.Option("--unsafe", help="Let the SQL write, and reach all files that you may reach.")]
Versions = Annotated[
    list[str] | None,
    typer.Option(
        "--version",
        metavar="DATASET=VERSION",
        help="Speak of this version, by its name, number or tag, not of the one that readers take; may be repeated. Of "
        "the only dataset VERSION will do.",
    ),
]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
Engines = Annotated[
    EngineChoice, typer.Option("--engine", help="auto takes Ray inside a Ray job or with RAY_ADDRESS set.")
]
Workers = Annotated[
    int | None, typer.Option("--workers", min=1, help="Shards worked on at the same time; all cores by default.")
]

Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Only warnings and the result.")]
Progress = Annotated[
    ProgressChoice,
    typer.Option(
        "--progress",
        help="On standard error: auto is a display on a terminal and lines elsewhere, plain always lines, json an "
        "object a line for machines, none only warnings.",
    ),
]
#: Of commands that learn from labels: those of a task or of a table.
LabelTable = Annotated[
    str | None, typer.Option("--table", metavar="FILE", help="Texts and labels of any format, in place of TASK.")
]
IdField = Annotated[str, typer.Option("--id", help="Field that holds the id.")]
TextField = Annotated[str, typer.Option("--text", help="Field that holds the text.")]
LabelField = Annotated[str, typer.Option("--label", help="Field of the label.")]
ProbabilityField = Annotated[str | None, typer.Option("--probability", help="Field of the probability of the label.")]
IsScale = Annotated[bool, typer.Option("--scale", help="The labels of the table are numbers of a scale.")]
Gold = Annotated[
    str | None,
    typer.Option("--gold", help="Of a TASK the annotator who is right; of a table the field of right labels."),
]
Method = Annotated[str, typer.Option("--method", help="How the answers of several annotators are aggregated.")]
TextInputs = Annotated[
    list[str] | None, typer.Option("--input", metavar="GLOB", help="Look for the texts of the answers here.")
]


class _WithoutPandas:
    """Finder to which pandas is not installed."""

    def find_spec(self, fullname: str, path: object = None, target: object = None, /) -> None:
        """Raise ModuleNotFoundError for pandas, and leave all else to other finders."""
        if fullname == "pandas":
            raise ModuleNotFoundError(name=fullname)


def leave_pandas_out() -> None:
    """Have Arrow look for pandas while it cannot be found: no command needs it, and loading it takes half a second.

    Arrow looks for it once, when it makes its first array of Python values. What converts to pandas loads it all the
    same.
    """
    import pyarrow as pa

    finder = _WithoutPandas()
    sys.meta_path.insert(0, finder)
    try:
        pa.array([0])
    finally:
        sys.meta_path.remove(finder)


#: The reporter of the command at work, where its progress is for machines: its error is then an event, too.
_machine: list[EventReporter] = []


@contextmanager
def reporting(quiet: bool, progress: ProgressChoice = ProgressChoice.auto) -> Iterator[Reporter]:
    """Give a command its reporter; one for machines gets a summary when the command ends."""
    from gristmill.pipelines.progress.events import EventReporter
    from gristmill.pipelines.progress.reporter import Reporter

    if progress is not ProgressChoice.json:
        yield Reporter(err, quiet or progress is ProgressChoice.none, live=progress is ProgressChoice.auto)
        return
    reporter = EventReporter()
    _machine[:] = [reporter]
    yield reporter
    _machine.clear()
    reporter.summarise()


@contextmanager
def errors(debug: bool = False) -> Iterator[None]:
    """Begin a command, and turn errors into one message and an exit code; the traceback only with --debug."""
    leave_pandas_out()
    _machine.clear()
    try:
        yield
    except GristmillError as error:
        _fail(str(error), error, debug, next((c for kind, c in EXIT_CODES.items() if isinstance(error, kind)), 1))
    except (typer.Exit, typer.Abort, typer.BadParameter):
        raise  # typer's own ways to end a command
    except KeyboardInterrupt as error:
        code = error.exit_code if isinstance(error, Ended) else 130
        what = "interrupted" if code == 130 else f"ended by {signal.Signals(code - 128).name}"
        _fail(f"{what}; finished work is kept, run the same command to go on", error, debug, code)
    except BrokenPipeError:  # the reader of the result has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(0) from None
    except MemoryError as error:
        _fail(f"there is not enough memory; finished work is kept. {MORE_MEMORY}", error, debug, 1)
    except OSError as error:
        _fail(f"{error.filename or 'a file'}: {error.strerror or error}", error, debug, 1)
    except UnicodeEncodeError as error:
        advice = "set PYTHONUTF8=1 or LC_ALL=C.UTF-8"
        _fail(f"a name cannot be written in this locale ({error.encoding}): {error.object}; {advice}", error, debug, 2)
    except Exception as error:
        if "can't start new thread" in str(error):
            _fail(f"the system starts no more threads; finished work is kept. {MORE_MEMORY}", error, debug, 1)
        _fail(
            f"unexpected {type(error).__name__}: {error} (--debug shows the traceback; please report it)",
            error,
            debug,
            1,
        )


def check_address_space() -> None:
    """End the process if its address space is less than its libraries need: they would crash or hang in it."""
    try:
        import resource
    except ImportError:
        return
    allowed = resource.getrlimit(resource.RLIMIT_AS)[0]
    if allowed != resource.RLIM_INFINITY and allowed < ADDRESS_SPACE:
        err.print(
            f"error: this process may take {allowed / 1e9:.1f} GB of address space (`ulimit -v`), and needs "
            f"{ADDRESS_SPACE / 1e9:.1f} GB, most of which it only reserves; raise the limit: `ulimit -v unlimited`",
            style="bold red",
        )
        raise SystemExit(1)


def _fail(message: str, error: BaseException, debug: bool, code: int) -> NoReturn:
    if debug:
        err.print_exception()
    cause = error.__cause__
    if cause is not None and not isinstance(cause, GristmillError | MemoryError):
        message += f"\n  cause: {type(cause).__name__}: {cause}"
    message = "\n".join(map(_shortened, message.split("\n")))
    if _machine:
        _machine.pop().summarise(code, message)
    else:
        err.print(f"error: {message}", style="bold red", markup=False)
    raise typer.Exit(code) from error


def _shortened(line: str) -> str:
    """Return a line of a message without the middle of a very long one, which quotes input."""
    return line if len(line) <= LONGEST_LINE else f"{line[: LONGEST_LINE // 2]} ... {line[-LONGEST_LINE // 4 :]}"


def asked_versions(versions: Sequence[str] | None) -> dict[str, str]:
    """Return the versions that are asked for, by dataset; by `""` where none is named. Raises RecipeError."""
    asked: dict[str, str] = {}
    for given in versions or ():
        dataset, _, version = given.rpartition("=")
        if not version:
            raise RecipeError(f"--version {given}: name a version of a dataset, such as web=2")
        if asked.setdefault(dataset, version) != version:
            raise RecipeError(f"--version {given}: another version, {asked[dataset]}, is asked for as well")
    return asked


def teller(as_json: bool) -> Callable[[str], None]:
    """Return what prints the line that says which versions a command speaks of, before its result; not beside JSON."""
    return lambda line: None if as_json else err.print(line, style="dim", markup=False)


def say(message: str) -> None:
    """Print a message of work that takes a while to standard error."""
    err.print(message, markup=False)


def print_result(as_json: bool, value: Any, show: Callable[[], None]) -> None:
    """Print a result to standard output: as JSON, or in the form for people."""
    if as_json:
        print(printable_json(value))
    else:
        show()


def print_table(as_json: bool, table: pa.Table) -> None:
    """Print the rows of a query to standard output."""
    from gristmill.pipelines.report.console.tables import show_table

    print_result(as_json, table.to_pylist(), lambda: show_table(table, out))
