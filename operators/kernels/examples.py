"""Examples of calls, by which kernels are compiled before there is work for them.

Machine code is made for the types of what a kernel is called with: each example is made as the operators make theirs.
Groups are of kernels that have parts in common, for one process to compile, the most expensive first.

As a program it compiles the groups whose names it reads, line by line, and names each that it has done.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa

from gristmill.operators.kernels.added_tokens import added_tokens
from gristmill.operators.kernels.bands import agreements, band_keys
from gristmill.operators.kernels.buffers import text_buffers
from gristmill.operators.kernels.byte_pairs import Cutting, empty_memory, encode_texts
from gristmill.operators.kernels.candidates import bucket_pairs, first_occurrences, hash_pairs, may_repeat
from gristmill.operators.kernels.characters import character_classes, first_characters, lower_case
from gristmill.operators.kernels.cleaning import clean_texts, inspect_texts
from gristmill.operators.kernels.fasttext import mean_rows
from gristmill.operators.kernels.fasttext_best import best_leaves, best_of_softmax
from gristmill.operators.kernels.fasttext_dictionary import Dictionary, bucket_filter, hash_table, scan_entries
from gristmill.operators.kernels.fasttext_matrix import Matrix, dense_rows, project_rows
from gristmill.operators.kernels.fasttext_output import softmax
from gristmill.operators.kernels.gopher import gopher_statistics
from gristmill.operators.kernels.hashes import hash_normalized_texts, hash_texts
from gristmill.operators.kernels.jaccard import jaccard_of_sets
from gristmill.operators.kernels.line_characters import line_classes
from gristmill.operators.kernels.line_rules import LineRules, LineShape, clean_texts_by_line
from gristmill.operators.kernels.linear import fit_dual, products
from gristmill.operators.kernels.merging import Merges, byte_ranks, merge_table, word_table
from gristmill.operators.kernels.minhash import Sketch, fast_similarity, k_permutations, sign
from gristmill.operators.kernels.ngrams import UNCACHED, Features, count_buckets, list_buckets, sum_over_buckets
from gristmill.operators.kernels.noise import gumbel, uniform
from gristmill.operators.kernels.packing import best_fit, copy_pieces, permuted, shuffle_keys
from gristmill.operators.kernels.page import FILLER, SCHEMES, page_statistics
from gristmill.operators.kernels.paragraphs import hash_pieces, remove_pieces
from gristmill.operators.kernels.personal_data import find_places
from gristmill.operators.kernels.phrases import phrases
from gristmill.operators.kernels.pretokens import Pattern
from gristmill.operators.kernels.primitives import hash_128
from gristmill.operators.kernels.shingles import alphabet, shingle_sets
from gristmill.operators.kernels.tokens import estimate_tokens
from gristmill.operators.kernels.unicode_forms import may_compose
from gristmill.operators.kernels.union_find import smallest_members
from gristmill.operators.kernels.urls import Lists, hash_entries, hash_words, host_bounds, match_urls
from gristmill.operators.kernels.wordpunct import characters, write_tokens

_Call = tuple[Callable[..., Any], tuple[Any, ...]]
_SEED = np.uint64(0)


def _texts() -> tuple[Any, Any]:
    return text_buffers(pa.nulls(1, pa.large_string()))  # an array of Python values would load pandas


def _fixed(array: Any) -> Any:
    array.flags.writeable = False
    return array


def _gopher() -> list[_Call]:
    return [(gopher_statistics, (*_texts(), character_classes()))]


def _model(ngrams: Any) -> tuple[Dictionary, Matrix]:
    numbers = np.zeros(1, np.float32)
    matrix = Matrix(_fixed(np.zeros(64, np.uint8)), 0, 4, False, numbers, 1, numbers, 0)
    entries, nothing = hash_table(np.zeros(1, np.uint64)), np.zeros(0, np.uint64)
    return Dictionary(entries, nothing.reshape(0, 2), nothing, 1, 1, 1, ngrams), matrix


def _fasttext() -> list[_Call]:
    dictionary, matrix = _model(np.zeros((0, 0), np.int64))
    scores, numbers = np.zeros((1, 1)), np.zeros(1, np.float32)
    return [
        (mean_rows, (*_texts(), dictionary, matrix, scores, np.zeros(1, np.int64))),
        (project_rows, (matrix, np.zeros((1, 1), np.float32), 0, np.zeros((1, 1), np.float32))),
        (softmax, (0, scores, numbers)),
    ]


def _language() -> list[_Call]:
    dictionary, matrix = _model(np.ones(2, np.int64))
    hidden, labels = np.zeros((1, 1), np.float32), np.zeros((1, 1), np.int64)
    return [
        (first_characters, (*_texts(), 1)),
        (mean_rows, (*_texts(), dictionary, matrix, hidden, np.zeros(1, np.int64))),
        (best_leaves, (hidden, np.zeros((1, 1), np.float32), np.zeros((0, 2), np.int64), labels, np.zeros((1, 1)))),
    ]


def _best_of_softmax() -> list[_Call]:
    numbers = np.zeros((1, 1), np.float32)
    return [(best_of_softmax, (numbers, numbers, np.zeros((1, 1), np.int64), np.zeros((1, 1))))]


def _fasttext_reader() -> list[_Call]:
    numbers, counts = np.zeros(1, np.float32), [np.zeros(1, np.int64) for _ in range(3)]
    matrix = Matrix(_fixed(np.zeros(64, np.uint8)), 0, 4, False, numbers, 1, numbers, 0)
    return [
        (scan_entries, (matrix.file, 0, *counts, np.zeros(1, np.uint8), np.zeros(1, np.uint64))),
        (hash_table, (np.zeros(1, np.uint64),)),
        (bucket_filter, (np.zeros(1, np.uint64),)),
        (dense_rows, (matrix, np.zeros((1, 1), np.float32))),
    ]


def _sign(sketch: Sketch) -> list[_Call]:
    return [(sign, (*_texts(), 5, alphabet(), sketch, np.zeros((1, 8), np.uint16), np.zeros(1, np.int64)))]


def _buckets() -> list[_Call]:
    features = Features(characters(like_re=False), 2, 16, UNCACHED)
    return [
        (count_buckets, (*_texts(), features, np.zeros(16, np.int64))),
        (sum_over_buckets, (*_texts(), features, np.zeros((16, 1)), np.zeros((1, 1)), np.zeros(1, np.int64))),
    ]


def _scores() -> list[_Call]:
    features = Features(characters(like_re=False), 2, 16, UNCACHED)
    table = np.zeros((16, 1), np.float32)
    return [(sum_over_buckets, (*_texts(), features, table, np.zeros((1, 1)), np.zeros(1, np.int64)))]


def _write_tokens() -> list[_Call]:
    return [(write_tokens, (*_texts(), characters(like_re=False), np.zeros(4, np.uint8), np.zeros(2, np.int64)))]


def _dual() -> list[_Call]:
    features = Features(characters(like_re=False), 2, 16, UNCACHED)
    numbers, values = np.zeros(2, np.int64), np.zeros(1)
    return [
        (list_buckets, (*_texts(), features, numbers, numbers[:1])),
        (fit_dual, (numbers, numbers[:1], values, values, values, values, values, values, 1, 1.0)),
        (products, (numbers, numbers[:1], values, np.zeros((1, 1)), np.zeros((1, 1)))),
    ]


def _cleaning() -> list[_Call]:
    tables = (_fixed(np.zeros(0x110000, np.uint8)), *(_fixed(np.zeros(1, np.uint64)) for _ in range(2)))
    return [(inspect_texts, (*_texts(), *tables)), (clean_texts, (*_texts(), np.ones(1, np.bool_)))]


def _personal_data() -> list[_Call]:
    roles, prefixes = _fixed(np.zeros(65536, np.uint8)), _fixed(np.zeros((1, 16), np.uint8))
    return [(find_places, (*_texts(), roles, prefixes, 0))]


def _clean_lines() -> list[_Call]:
    marks, no_phrases = _fixed(np.zeros(1, np.int64)), phrases([()] * 8)
    rules = LineRules(LineShape(True, 0, 1, True, True, 1.0, 1.0, True, 1, 1), marks, no_phrases)
    return [(clean_texts_by_line, (*_texts(), rules, line_classes(), np.zeros(0, np.uint8)))]


def _packing() -> list[_Call]:
    numbers = np.zeros(0, np.int64)
    small, large = np.zeros(0, np.uint16), np.zeros(0, np.uint32)
    copied = [
        (large, small),
        (large, large),
        (_fixed(small.copy()), small),
        (_fixed(large.copy()), large),
        (small, small),
    ]
    return [
        (best_fit, (numbers, numbers, 2)),
        *((copy_pieces, (source, numbers, numbers, numbers, target)) for source, target in copied),
        (shuffle_keys, (_SEED, _fixed(np.zeros((1, 2), np.uint64)))),
        (shuffle_keys, (_SEED, np.zeros((1, 2), np.uint64))),
        (permuted, (_SEED, 1, numbers)),
    ]


def _page_statistics() -> list[_Call]:
    return [(page_statistics, (*_texts(), 30, 200, line_classes(), phrases([FILLER], [SCHEMES])))]


def _byte_pairs() -> list[_Call]:
    of_bytes, words, starts = np.zeros(256, np.uint32), np.zeros(1, np.uint8), np.zeros(2, np.int64)
    table, none, ids = merge_table(of_bytes, of_bytes), added_tokens([]), of_bytes[:1]
    pattern = Pattern(_fixed(np.zeros(0x110000, np.uint8)), True, 0)
    merges = Merges(of_bytes, byte_ranks(of_bytes, table), table, ids, ids, starts, words, ids)
    cutting = Cutting(none, none, pattern, False)
    return [
        (encode_texts, (*_texts(), cutting, merges, empty_memory(16), np.zeros(8, np.uint32), starts[:1])),
        (word_table, (words, starts)),
        (may_compose, (*_texts(), pattern.classes)),
    ]


def _pieces() -> tuple[Any, ...]:
    return character_classes(), lower_case()


def _near_duplicates() -> list[_Call]:
    lanes, word = _fixed(np.zeros((1, 8), np.uint16)), np.ones(1, np.uint64)
    fixed_word, numbers = _fixed(word.copy()), np.zeros(1, np.int64)
    return [
        (band_keys, (lanes, 1, 8, np.zeros((1, 1), np.uint64))),
        (agreements, (lanes, lanes)),
        (may_repeat, (fixed_word,)),
        (bucket_pairs, (word, np.array([0, 1]), 2, 1)),
        (first_occurrences, (fixed_word, fixed_word)),
        (hash_pairs, (word, word)),
        (hash_pairs, (fixed_word, fixed_word)),
        (smallest_members, (1, numbers, numbers)),
    ]


def _shingle_sets() -> list[_Call]:
    sets = shingle_sets(*_texts(), 5, alphabet())
    return [(jaccard_of_sets, (*sets, *sets))]


def _remove_pieces() -> list[_Call]:
    positions = _fixed(np.zeros(1, np.uint32))
    return [(remove_pieces, (*_texts(), False, positions, np.array([0, 1], np.int32), character_classes()))]


def _urls() -> list[_Call]:
    data, numbers, none = _fixed(np.zeros(1, np.uint8)), np.zeros(257, np.int64), _fixed(np.zeros(0, np.uint64))
    lists = Lists(none, none, none, none, data, numbers[:1], numbers, np.zeros(1, np.bool_))
    return [
        (match_urls, (*_texts(), *_texts(), lists, 2, *_pieces())),
        (hash_entries, (data, True, False)),
        (hash_words, (*_texts(), *_pieces())),
        (host_bounds, _texts()),
    ]


#: The calls of each group, made when they are asked for.
EXAMPLES: dict[str, Callable[[], list[_Call]]] = {
    "byte_pairs": _byte_pairs,
    "gopher": _gopher,
    "clean_lines": _clean_lines,
    "page_statistics": _page_statistics,
    "buckets": _buckets,
    "scores": _scores,
    "write_tokens": _write_tokens,
    "dual": _dual,
    "fasttext": _fasttext,
    "language": _language,
    "near_duplicates": _near_duplicates,
    "sign_fss": lambda: _sign(fast_similarity(8, 1)),
    "sign_kperm": lambda: _sign(k_permutations(8, 1)),
    "hash_pieces": lambda: [(hash_pieces, (*_texts(), False, 20, *_pieces()))],
    "cleaning": _cleaning,
    "urls": _urls,
    "personal_data": _personal_data,
    "hash_normalized_texts": lambda: [(hash_normalized_texts, (*_texts(), *_pieces()))],
    "shingle_sets": _shingle_sets,
    "remove_pieces": _remove_pieces,
    "fasttext_reader": _fasttext_reader,
    "best_of_softmax": _best_of_softmax,
    "hash_texts": lambda: [(hash_texts, _texts()), (hash_128, (np.zeros(8, np.uint8), 0, 8))],
    "estimate_tokens": lambda: [(estimate_tokens, _texts())],
    "packing": _packing,
    "noise": lambda: [(draw, (_SEED, _fixed(np.zeros((1, 2), np.uint64)))) for draw in (gumbel, uniform)],
}


def main() -> None:
    """Compile the groups whose names are read from standard input."""
    gc.disable()
    for line in sys.stdin:
        for called, arguments in EXAMPLES[line.strip()]():
            called(*arguments)
        print(line.strip(), flush=True)


if __name__ == "__main__":
    main()
