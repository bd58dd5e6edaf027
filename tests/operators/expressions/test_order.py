"""Order keys: same order as the values, and back."""

from __future__ import annotations

import datetime
import math
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gristmill.operators.expressions.order import is_ordered, order_keys, value_of

VALUES: dict[pa.DataType, st.SearchStrategy[Any]] = {
    pa.float64(): st.floats(allow_nan=False),
    pa.float32(): st.floats(allow_nan=False, width=32),
    pa.int64(): st.integers(-(2**63), 2**63 - 1),
    pa.int8(): st.integers(-128, 127),
    pa.uint64(): st.integers(0, 2**64 - 1),
    pa.bool_(): st.booleans(),
    pa.date32(): st.dates(),
    pa.timestamp("us"): st.datetimes(datetime.datetime(1900, 1, 1), datetime.datetime(2100, 1, 1)),
    pa.time64("us"): st.times(),
    pa.duration("us"): st.timedeltas(datetime.timedelta(-1000), datetime.timedelta(1000)),
}


@pytest.mark.parametrize("type", VALUES, ids=str)
@given(data=st.data())
def test_keys_are_ordered_as_values_and_give_them_back(type: pa.DataType, data: st.DataObject) -> None:
    values = data.draw(st.lists(VALUES[type], min_size=1, max_size=20))
    keys, valid = order_keys(pa.array(values, type))
    assert valid.all()
    by_key = [values[i] for i in np.argsort(keys, kind="stable")]
    assert by_key == sorted(values)
    assert [value_of(int(key), type).as_py() for key in keys] == values
    assert (np.unique(keys).size == 1) == (len(set(values)) == 1)


def test_nulls_and_nan_do_not_count() -> None:
    keys, valid = order_keys(pa.chunked_array([[1.0, None], [math.nan, -math.inf]]))
    assert valid.tolist() == [True, False, False, True]
    assert keys[3] < keys[0]


def test_the_two_zeros_are_equal() -> None:
    keys, _ = order_keys(pa.array([0.0, -0.0]))
    assert keys[0] == keys[1]


def test_types_without_keys() -> None:
    assert not any(map(is_ordered, [pa.string(), pa.binary(), pa.list_(pa.int64()), pa.decimal128(10, 2)]))
