"""`gristmill.open_dataset`: a version of a dataset, in the form that a program reads.

Each library is imported where its form is asked for.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from gristmill.operators.errors import RecipeError
from gristmill.pipelines.config.quoting import in_glob
from gristmill.pipelines.config.wording import did_you_mean
from gristmill.pipelines.storage import files
from gristmill.pipelines.store.datasets import Dataset

if TYPE_CHECKING:
    import duckdb as duckdb_library
    import pyarrow as pa
    from pyarrow.dataset import Dataset as ArrowDataset

    from gristmill.pipelines.readers.row_stream import RowStream
    from gristmill.pipelines.readers.torch_rows import TorchRows


class OpenDataset:
    """A version of a dataset: of one with an index the documents of all nights, or with `only_new` what it added.

    Where nights have different columns every form has all of them, null where a night had none. Files are not compared
    with their digests, which `gristmill verify DATASET` does before a long training.
    """

    def __init__(self, url: str, version: str | None = None, only_new: bool = False) -> None:
        """Open a version by its name, number or tag, or the one that readers take.

        Raises RecipeError where there is no such dataset or version, StoreDamaged where its manifest is not what was
        written.
        """
        dataset = Dataset.at(url)
        found = dataset.find(version)
        #: the folder of the dataset
        self.url = dataset.url
        #: the name of the version
        self.version = found.name
        #: its manifest: rows, tokens, schema, recipe, funnel ...
        self.manifest = found.manifest
        #: the URLs of its Parquet files
        self.paths = found.urls(self.manifest, only_new)
        self._whole = found.urls(self.manifest)
        self._files = found.added(self.manifest) if only_new else self.manifest["files"]
        self._differ = bool(self.manifest.get("columns_changed")) and not only_new

    def __repr__(self) -> str:
        return f"<dataset {self.url}, version {self.version}: {self.rows:,} rows in {len(self.paths):,} files>"

    @property
    def rows(self) -> int:
        """Return the number of rows."""
        return sum(file["rows"] for file in self._files)

    @cached_property
    def schema(self) -> pa.Schema:
        """Return the columns: where nights have different ones, all of them."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        of_night = {file.get("night"): url for file, url in zip(self._files, self.paths, strict=True)}
        if not self._differ:  # a version that added nothing has no file of its own
            of_night = {None: [*of_night.values(), *self._whole][0]}
        schemas = [pq.read_schema(path, filesystem=self._filesystem) for path in _within(of_night.values())]
        try:
            return pa.unify_schemas(schemas, promote_options="permissive").remove_metadata()
        except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
            raise RecipeError(
                f"the nights of {self.url} have columns of one name whose types do not go together: {error}. Read what "
                "each version added by itself: only_new"
            ) from None

    def arrow(self) -> ArrowDataset:
        """Return a `pyarrow.dataset.Dataset`, which reads nothing until it is asked to."""
        import pyarrow.dataset

        return pyarrow.dataset.dataset(_within(self.paths), self.schema, format="parquet", filesystem=self._filesystem)

    def pandas(self, columns: Sequence[str] | None = None) -> Any:
        """Return a `pandas.DataFrame` of some columns, or of all."""
        _library("pandas")
        return self.arrow().to_table(columns=self._columns(columns).names).to_pandas()

    def polars(self) -> Any:
        """Return a `polars.LazyFrame`, which reads what a query needs."""
        polars = _library("polars")
        if not self._local:
            return polars.scan_pyarrow_dataset(self.arrow())
        schema = polars.from_arrow(self.schema.empty_table()).schema
        return polars.scan_parquet(_within(self.paths), schema=schema, missing_columns="insert", glob=False)

    def duckdb(self) -> duckdb_library.DuckDBPyRelation:
        """Return a relation of DuckDB, on a connection of its own."""
        import duckdb

        connection = duckdb.connect()
        if not self._local:
            connection.register_filesystem(self._filesystem)
        return connection.read_parquet(self._globs, union_by_name=self._differ)

    def huggingface(self) -> Any:
        """Return a `datasets.IterableDataset`, whose shards are the files."""
        datasets = _library("datasets")
        features = datasets.Features.from_arrow_schema(self.schema)
        return datasets.load_dataset(
            "parquet", data_files=self._globs, split="train", streaming=True, features=features
        )

    def ray(self) -> Any:
        """Return a `ray.data.Dataset`, on the cluster that this process is connected to."""
        import ray.data

        return ray.data.read_parquet(_within(self.paths), filesystem=self._filesystem, schema=self.schema)

    def stream(
        self,
        columns: str | Sequence[str] | None = None,
        *,
        rank: int = 0,
        world: int = 1,
        seed: int | None = None,
        shuffle_buffer: int = 10_000,
        epoch: int = 0,
        drop_last: bool = False,
    ) -> RowStream:
        """Return a stream of rows for training, as `torch` does, for programs without PyTorch."""
        from gristmill.pipelines.readers.row_stream import RowStream, StreamOptions

        options = StreamOptions(rank, world, seed, shuffle_buffer, epoch, drop_last)
        return RowStream(*self._rows_of(columns), options)

    def torch(
        self,
        columns: str | Sequence[str] | None = None,
        *,
        rank: int = 0,
        world: int = 1,
        seed: int | None = None,
        shuffle_buffer: int = 10_000,
        epoch: int = 0,
        drop_last: bool = False,
    ) -> TorchRows:
        """Return an `IterableDataset` of PyTorch, divided among ranks and the workers of their DataLoaders.

        The footers of all files are read at once, their rows when they are asked for. The order depends on the dataset,
        these options and `world` times the number of workers, and on nothing else.
        `state_dict()` is the place in it, from which `load_state_dict()` goes on with exactly the rows that are left.

        Args:
            columns: The columns of a row, which is a dictionary; of a single name its value; by default all.
            rank: The number of this process among those that train together.
            world: How many there are.
            seed: Of the order of row groups and of the rows in the buffer; None leaves all as it lies in the files.
            shuffle_buffer: Rows, of eight row groups, that are held and given in random order before others are read.
            epoch: Which pass over the data it is: each has another order.
            drop_last: Whether all workers of all ranks get the same number of rows; fewer rows than there are workers
                are then left out.

        Raises:
            RecipeError: There is no such column or rank, or PyTorch is not installed.
            StoreDamaged: A file is gone, or not what was written.
        """
        _library("torch")
        from gristmill.pipelines.readers.row_stream import StreamOptions
        from gristmill.pipelines.readers.torch_rows import TorchRows

        options = StreamOptions(rank, world, seed, shuffle_buffer, epoch, drop_last)
        return TorchRows(*self._rows_of(columns), options)

    def _rows_of(self, columns: str | Sequence[str] | None) -> tuple[str, Any, pa.Schema, bool]:
        """Return what a stream reads: the name of the version, row groups, columns, whether rows are single values."""
        from gristmill.pipelines.readers.row_groups import DataFile, RowGroups

        alone = isinstance(columns, str)
        schema = self._columns([columns] if isinstance(columns, str) else columns)
        found = [DataFile(url, file["bytes"], file["rows"]) for url, file in zip(self.paths, self._files, strict=True)]
        return f"{self.url.rsplit('/', 1)[-1]}/{self.version}", RowGroups.of(found), schema, alone

    def _columns(self, names: Sequence[str] | None) -> pa.Schema:
        """Return some of the columns. Raises RecipeError for one that there is not."""
        import pyarrow as pa

        if names is None:
            return self.schema
        if not names:
            raise RecipeError(f"name a column to read of {self.url}{did_you_mean('', self.schema.names)}")
        for name in names:
            if name not in self.schema.names:
                raise RecipeError(f"{self.url} has no column {name}{did_you_mean(name, self.schema.names)}")
        return pa.schema([self.schema.field(name) for name in names])

    @property
    def _local(self) -> bool:
        return files.is_local(self.url)

    @property
    def _globs(self) -> list[str]:
        """Return a glob for each file that matches it alone."""
        return [in_glob(path) for path in (_within(self.paths) if self._local else self.paths)]

    @property
    def _filesystem(self) -> Any:
        return files.filesystem(self.url)[0]


def _within(urls: Iterable[str]) -> list[str]:
    """Return the paths of files in their file system."""
    return [files.filesystem(url)[1] for url in urls]


def _library(name: str) -> Any:
    """Import a library that is not among the dependencies of gristmill. Raises RecipeError with the way to get it."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise RecipeError(f"to read a dataset in this form takes the library {name}: pip install {name}") from error
