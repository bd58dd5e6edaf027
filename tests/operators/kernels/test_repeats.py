import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from gristmill.operators.kernels.repeats import count_members, count_repeats, first_equal, longer_candidates, table_bits


def scratch(count):
    return np.empty(1 << table_bits(count), np.int32), np.empty(count, np.int32)


keys_with_repeats = st.lists(st.integers(0, 12) | st.integers(0, 2**64 - 1), max_size=60)


@given(keys_with_repeats)
def test_first_equal_and_repeats(values):
    keys = np.array(values, np.uint64)
    slots, first = scratch(len(keys))
    first_equal(keys, len(keys), slots, first)
    assert first.tolist() == [values.index(value) for value in values]
    members = np.empty(len(keys), np.int32)
    count_members(first, len(keys), members)
    assert members.tolist() == [values.count(v) if values.index(v) == k else 0 for k, v in enumerate(values)]
    lengths = [k % 5 for k in range(len(values))]
    characters = np.cumsum([0, *lengths]).astype(np.int32)
    again = [k for k, value in enumerate(values) if values.index(value) < k]
    expected = (len(again), sum(lengths[k] for k in again))
    assert count_repeats(keys, characters, len(keys), slots, first) == expected


@given(st.lists(st.integers(0, 3), max_size=60))
def test_candidates_hold_every_repeated_ngram(words):
    """Level by level, equal n-grams keep equal keys, different ones different keys, and no repeated one is lost."""
    keys = np.array(words, np.uint64)
    positions = np.arange(len(words), dtype=np.int32)
    members = np.empty(len(words), np.int32)
    slots, first = scratch(len(words))
    count = len(words)
    for n in range(1, 8):
        grams = [tuple(words[p : p + n]) for p in range(len(words) - n + 1)]
        candidates = positions[:count].tolist()
        assert {p for p, gram in enumerate(grams) if grams.count(gram) > 1} <= set(candidates)
        first_equal(keys, count, slots, first)
        for k, p in enumerate(candidates):
            assert first[k] == next(j for j, q in enumerate(candidates) if grams[q] == grams[p])
        count_members(first, count, members)
        count = longer_candidates(positions, keys, first, members, count)
