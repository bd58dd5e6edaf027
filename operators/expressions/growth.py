"""Expressions whose results may be far larger than their columns, such as `repeat('a', 2000000000)`.

The functions listed here give no more than a small multiple of what they are given, in time that is about linear in it.
Expressions of these, of comparisons, CASE and casts are harmless. All others may be useful, and may take all memory.
"""

from __future__ import annotations

import re
from typing import Any

from gristmill.operators.expressions.sandbox import Node

_BOUNDED = """
    quantile abs ceil ceiling floor round roundbankers round_even trunc sign signbit sqrt cbrt exp ln log log2 log10
    pow power mod fmod fdiv add subtract multiply divide greatest least isnan isinf isfinite even degrees radians pi
    sin cos tan asin acos atan atan2 sinh cosh tanh asinh acosh atanh gcd lcm xor bit_count nextafter gamma lgamma
    hash if nullif lower upper lcase ucase length len strlen char_length character_length octet_length
    length_grapheme bit_length substr substring substring_grapheme left right left_grapheme right_grapheme trim
    ltrim rtrim reverse ascii ord unicode chr starts_with ends_with prefix suffix contains instr strpos position
    concat concat_ws strip_accents nfc_normalize md5 sha1 sha256 regexp_matches regexp_full_match regexp_extract
    regexp_extract_all regexp_escape regexp_split_to_array string_split str_split split string_to_array
    string_split_regex str_split_regex split_part like_escape not_like_escape ilike_escape not_ilike_escape
    url_decode url_encode base64 to_base64 from_base64 hex unhex to_hex from_hex encode decode typeof parse_filename
    parse_path parse_dirname parse_dirpath year month day hour minute second quarter week weekofyear weekday
    yearweek dayofmonth dayofweek dayofyear dayname monthname isodow isoyear decade century millennium era epoch
    epoch_ms epoch_us epoch_ns millisecond microsecond nanosecond julian last_day date_part datepart date_diff
    datediff date_sub datesub date_trunc datetrunc date_add days_in_month make_date make_time make_timestamp
    strftime strptime try_strptime time_bucket timezone to_timestamp to_years to_months to_weeks to_days to_hours
    to_minutes to_seconds to_milliseconds to_microseconds list_value list_pack array_value list_contains list_has
    array_contains array_has list_position list_indexof array_position array_indexof list_extract list_element
    array_extract array_length list_slice array_slice list_has_any list_has_all array_has_any array_has_all
    list_distinct list_unique array_distinct array_unique list_sort list_reverse_sort array_sort array_reverse_sort
    list_reverse array_reverse list_min list_max list_sum list_avg list_count list_first list_last list_any_value
    list_median list_mode list_product list_bool_and list_bool_or list_append list_prepend array_append
    array_prepend list_concat list_cat array_concat array_cat row struct_pack struct_extract struct_extract_at
    map_keys map_values map_entries map_extract map_extract_value map_contains element_at cardinality json_extract
    json_extract_string json_extract_path json_extract_path_text json_valid json_type json_keys json_array_length
    json_exists json_contains json_value
"""
#: Functions that only remove text where their replacement is empty.
_REPLACING = {"replace", "regexp_replace"}
#: Deepest nesting of casts and functions: each doubles a text at most, so that it stays small.
_DEEPEST = 6
_NAMES = frozenset(_BOUNDED.split())
_OPERATOR = re.compile(r"\W+|collate_\w+|!__postfix")
#: A cast of a null to one of these makes values of any size.
_SIZED_TYPES = {"array"}


def may_grow(tree: Any) -> bool:
    """Return whether the result of an expression, given by its tree, may be far larger than its columns."""
    stack = [(tree, 0)]  # nodes, and how many functions are around each
    while stack:
        node, depth = stack.pop()
        if isinstance(node, dict):
            kind = node.get("class")
            if kind == "LAMBDA" or (kind == "TYPE" and str(node.get("type_name", "")).lower() in _SIZED_TYPES):
                return True
            if kind == "FUNCTION" and not _is_bounded(node):
                return True
            depth += kind == "CAST" or (kind == "FUNCTION" and not _is_operator(node))
            if depth > _DEEPEST:
                return True
        if isinstance(node, dict | list):
            stack += [(inner, depth) for inner in (node.values() if isinstance(node, dict) else node)]
    return False


def _is_bounded(node: Node) -> bool:
    name = node["function_name"].lower()
    if name in _REPLACING and len(node["arguments"]) >= 3:
        put: Node = node["arguments"][2]["expression"]
        return put.get("class") == "CONSTANT" and put.get("literal", {}).get("text") == ""
    return name in _NAMES or _is_operator(node)


def _is_operator(node: Node) -> bool:
    return _OPERATOR.fullmatch(node["function_name"].lower()) is not None
