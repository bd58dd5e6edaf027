"""The file format of fastText classifiers (.bin and .ftz, versions 11 and 12), mapped into memory rather than loaded.

The layout is that of fastText 0.9 (fasttext.cc, args.cc, dictionary.cc, densematrix.cc, quantmatrix.cc): little-endian
numbers without padding. Every size is checked against the length of the file before it is believed, so a file that is
cut or damaged is a RecipeError. Supported are supervised models of every loss, with word and character n-grams,
quantised and pruned ones too.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import numpy as np
from numpy.typing import NDArray

from gristmill.operators.errors import RecipeError
from gristmill.operators.fasttext.huffman import NO_NODE
from gristmill.operators.kernels.fasttext import LONGEST_NGRAM
from gristmill.operators.kernels.fasttext_dictionary import Dictionary, bucket_filter, hash_table, scan_entries
from gristmill.operators.kernels.fasttext_matrix import Matrix, dense_rows

MAGIC = 793712314
VERSIONS = (11, 12)
MODELS = {1: "cbow", 2: "skipgram", 3: "supervised"}
LOSSES = {1: "hierarchical softmax", 2: "negative sampling", 3: "softmax", 4: "one-vs-all"}
COMPRESSIONS = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd", b"BZh": "bzip2", b"PK\x03\x04": "zip"}

#: A code of the product quantiser is one byte.
CENTROIDS = 256
#: Bytes of an entry with an empty spelling: NUL, count, kind.
SMALLEST_ENTRY = 10


class Arguments(NamedTuple):
    """The training arguments that scoring needs."""

    dim: int
    word_ngrams: int
    loss: str
    buckets: int
    shortest: int  #: characters of the shortest and the longest character n-gram; 0 and 0: none
    longest: int


class Labels(NamedTuple):
    """The labels of a model, in its order."""

    names: list[str]
    counts: list[int]  #: occurrences of each in training, most frequent first


class ModelFile(NamedTuple):
    """The content of a model file. The dictionary's spellings and the input matrix stay in the mapped file."""

    arguments: Arguments
    labels: Labels
    dictionary: Dictionary
    matrix: Matrix
    rows: int  #: of the input matrix
    output: NDArray[np.float32]  #: [labels, dim]
    mapped: mmap.mmap  #: the file

    def release(self) -> None:
        """Give back the pages read, which else count as this process's memory; they are read again at need."""
        self.mapped.madvise(mmap.MADV_DONTNEED)


def read_model(path: Path) -> ModelFile:
    """Map the model at `path`; raise RecipeError with the file, what was found in it and what to do."""
    cursor = Cursor(path)
    arguments = _read_arguments(cursor, _read_version(cursor))
    dictionary, labels, n_rows = _read_dictionary(cursor, arguments)
    (quantised,) = cursor.numbers("?")
    if dictionary.kept.size and not quantised:
        cursor.refuse("it is pruned but not quantised", "Make it again with fastText 0.9 (see its issue 332).")
    matrix = _read_matrix(cursor, n_rows, arguments.dim, quantised)
    (output_quantised,) = cursor.numbers("?")
    output_matrix = _read_matrix(cursor, len(labels.names), arguments.dim, quantised and output_quantised)
    output = np.empty((len(labels.names), arguments.dim), np.float32)
    dense_rows(output_matrix, output)
    if cursor.left:
        cursor.refuse_as_damaged(f"{cursor.left:,} bytes after its end")
    return ModelFile(arguments, labels, dictionary, matrix, n_rows, output, cursor.mapped)


class Cursor:
    """A reader of a mapped file, from front to back and never past its end."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.position = 0
        try:
            with open(path, "rb") as file:
                if not path.stat().st_size:  # an empty file cannot be mapped
                    self.refuse("it is not a fastText model (it is empty)", "Copy it again from where it came.")
                self.mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except OSError as error:
            self.refuse(f"it cannot be read ({error.strerror or error})", "Check the path and its permissions.")
        self.content: NDArray[np.uint8] = np.frombuffer(self.mapped, np.uint8)

    @property
    def left(self) -> int:
        """Return the number of bytes from here to the end."""
        return self.content.size - self.position

    def skip(self, size: int) -> int:
        """Go past `size` bytes; return where they begin."""
        if not 0 <= size <= self.left:
            self.refuse_as_damaged(f"{size:,} bytes should follow byte {self.position:,}, {self.left:,} do")
        self.position += size
        return self.position - size

    def numbers(self, format: str) -> tuple[Any, ...]:
        """Read little-endian numbers without padding, in the notation of `struct`."""
        return struct.unpack_from("<" + format, self.content.data, self.skip(struct.calcsize("<" + format)))

    def array(self, dtype: str, n: int) -> NDArray[Any]:
        """Read an aligned copy of the n numbers that follow."""
        start = self.skip(n * np.dtype(dtype).itemsize)
        return np.frombuffer(self.content[start : self.position], dtype).copy()

    def refuse(self, found: str, remedy: str) -> NoReturn:
        """Raise the RecipeError of a file that cannot be used."""
        raise RecipeError(f"model {self.path}: {found}. {remedy}")

    def refuse_as_damaged(self, found: str) -> NoReturn:
        """Raise the RecipeError of a file that contradicts itself."""
        self.refuse(f"it is cut or damaged ({found})", "Copy it again from where it came, or train it again.")


def _read_version(cursor: Cursor) -> int:
    start = bytes(cursor.content[:16])
    if start[:4] != MAGIC.to_bytes(4, "little"):
        for mark, compression in COMPRESSIONS.items():
            if start.startswith(mark):
                cursor.refuse(f"it is compressed ({compression})", "Decompress it first.")
        cursor.refuse(
            f"it is not a fastText model (it begins with {start!r})",
            "Train one with `gristmill train quality`, or give a .bin or .ftz file of fastText.",
        )
    _, version = cursor.numbers("ii")
    if version not in VERSIONS:
        cursor.refuse(f"it has format version {version}, known are {VERSIONS}", "Save it again with fastText 0.9.")
    return int(version)


def _read_arguments(cursor: Cursor, version: int) -> Arguments:
    dim, _, _, _, _, word_ngrams, loss, model, buckets, shortest, longest, _, _ = cursor.numbers("12id")
    if model in MODELS and MODELS[model] != "supervised":
        cursor.refuse(f"it holds {MODELS[model]} word vectors, not a classifier", "Train it with train_supervised().")
    if version == 11 or longest <= 0:
        shortest = longest = 0  # as in the library: classifiers of version 11 have no character n-grams
    has_ngrams = word_ngrams > 1 or longest > 0
    plausible = model in MODELS and loss in LOSSES and dim > 0 and buckets >= has_ngrams
    if not plausible or not 0 <= word_ngrams <= LONGEST_NGRAM or not 0 <= shortest <= longest <= LONGEST_NGRAM:
        cursor.refuse_as_damaged(
            f"model {model}, loss {loss}, dim {dim}, wordNgrams {word_ngrams}, bucket {buckets}, minn {shortest}, "
            f"maxn {longest}"
        )
    return Arguments(dim, max(word_ngrams, 1), LOSSES[loss], buckets, shortest, longest)


def _read_dictionary(cursor: Cursor, arguments: Arguments) -> tuple[Dictionary, Labels, int]:
    """Read the dictionary and the labels; return them and the number of rows of the input matrix."""
    size, words, n_labels, _, n_kept = cursor.numbers("iiiqq")
    pruned = n_kept >= 0  # -1: every bucket has its row
    if words < 0 or n_labels <= 0 or size != words + n_labels or not -1 <= n_kept <= arguments.buckets:
        cursor.refuse_as_damaged(f"{size} entries, {words} words, {n_labels} labels, {n_kept} buckets kept")

    if size * SMALLEST_ENTRY > cursor.left:
        cursor.refuse_as_damaged(f"{size:,} entries of a dictionary do not fit in {cursor.left:,} bytes")
    starts, lengths, counts = (np.empty(size, np.int64) for _ in range(3))
    kinds, keys = np.empty(size, np.uint8), np.empty(size, np.uint64)
    end = scan_entries(cursor.content, cursor.position, starts, lengths, counts, kinds, keys)
    if end < 0:
        cursor.refuse_as_damaged(f"it ends within its dictionary of {size:,} entries")
    cursor.skip(end - cursor.position)
    if (
        kinds[:words].any()
        or (kinds[words:] != 1).any()
        or counts.min() < 0
        or counts[words:].sum(dtype=float) >= NO_NODE
    ):
        cursor.refuse_as_damaged("its dictionary is not words followed by labels, with counts")

    buckets, rows = cursor.array("<i4", 2 * max(n_kept, 0)).reshape(-1, 2).T
    if (np.sort(rows) != np.arange(len(rows))).any():
        cursor.refuse_as_damaged("the rows of the kept buckets are not 0, 1, 2, ...")
    kept_buckets = buckets[np.argsort(rows)].astype(np.uint64)
    dictionary = Dictionary(
        entries=hash_table(keys),
        kept=hash_table(kept_buckets) if pruned else np.empty((0, 2), np.uint64),
        filter=bucket_filter(kept_buckets) if pruned else np.empty(0, np.uint64),
        words=words,
        word_ngrams=arguments.word_ngrams,
        buckets=arguments.buckets,
        ngrams=np.array([arguments.shortest, arguments.longest] if arguments.longest else np.empty((0, 0)), np.int64),
    )
    spellings = (bytes(cursor.content[starts[e] : starts[e] + lengths[e]]) for e in range(words, size))
    names = [spelling.decode(errors="backslashreplace") for spelling in spellings]
    return dictionary, Labels(names, counts[words:].tolist()), words + (n_kept if pruned else arguments.buckets)


def _read_matrix(cursor: Cursor, rows: int, dim: int, quantised: bool) -> Matrix:
    """Read a matrix, which must be `rows` x `dim`; its rows stay in the mapped file."""
    if quantised:
        return _read_quantised_matrix(cursor, rows, dim)
    _check_shape(cursor, cursor.numbers("qq"), rows, dim)
    empty = np.empty(0, np.float32)
    return Matrix(cursor.content, cursor.skip(rows * dim * 4), dim * 4, False, empty, 1, empty, 0)


def _read_quantised_matrix(cursor: Cursor, rows: int, dim: int) -> Matrix:
    has_norms, *shape, n_codes = cursor.numbers("?qqi")
    _check_shape(cursor, shape, rows, dim)
    start = cursor.skip(n_codes)
    centroids, stretch = _read_quantiser(cursor, dim)
    width = -(-dim // stretch)
    if n_codes != rows * width:
        cursor.refuse_as_damaged(f"{n_codes} codes for {rows} rows of {width}")
    norm_start, norms = 0, np.empty(0, np.float32)
    if has_norms:
        norm_start = cursor.skip(rows)
        norms, _ = _read_quantiser(cursor, 1)
    return Matrix(cursor.content, start, width, True, centroids, stretch, norms, norm_start)


def _read_quantiser(cursor: Cursor, dim: int) -> tuple[NDArray[np.float32], int]:
    """Read the centroids of a product quantiser of `dim` dimensions, and how many dimensions one code stands for."""
    dimensions, parts, stretch, last = cursor.numbers("4i")
    if dimensions != dim or stretch <= 0 or parts != -(-dim // stretch) or last != dim - (parts - 1) * stretch:
        cursor.refuse_as_damaged(
            f"a quantiser of {dimensions} dimensions in {parts} parts of {stretch}, the last of {last}"
        )
    return cursor.array("<f4", dim * CENTROIDS), stretch


def _check_shape(cursor: Cursor, shape: Sequence[int], rows: int, dim: int) -> None:
    if tuple(shape) != (rows, dim):
        cursor.refuse_as_damaged(f"a matrix of {shape[0]} x {shape[1]}, not {rows} x {dim}")
