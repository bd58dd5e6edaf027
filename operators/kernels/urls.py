"""URLs and lists of them: what a URL names, in one spelling, and the entry of some lists that it bears.

The host of a URL is what RFC 3986, section 3.2, calls so; a URL need not have a scheme. Entries are compared by sorted
64-bit hashes: with five million of them, a look-up finds one that is not there with a probability of 3e-13.
"""

# mypy: ignore-errors
from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gristmill.operators.kernels.buffers import PADDING
from gristmill.operators.kernels.characters import CONTENT, code_point
from gristmill.operators.kernels.compiling import kernel
from gristmill.operators.kernels.hashes import put_lower
from gristmill.operators.kernels.primitives import hash_word, longest

#: The lists, in the order in which they are asked.
NO_LIST, DOMAIN, URL, WORD, SOFT_WORDS, SUBWORD = range(6)
_NO_WORD = np.uint64(0)
LONGEST_HOST = 253  #: bytes (RFC 1035, section 2.3.4): what is longer is no host

_LINE_FEED, _SPACE, _NUMBER_SIGN, _PLUS, _COMMA, _HYPHEN, _FULL_STOP, _SLASH = 10, 32, 35, 43, 44, 45, 46, 47
_COLON, _QUESTION_MARK, _AT, _OPEN, _CLOSE, _UNDERSCORE = 58, 63, 64, 91, 93, 95


class Lists(NamedTuple):
    """Lists that URLs are compared with. Hashes are sorted and made as `hash_entries` and `hash_words` make them."""

    domains: NDArray[np.uint64]
    urls: NDArray[np.uint64]
    words: NDArray[np.uint64]
    soft_words: NDArray[np.uint64]
    subwords: NDArray[np.uint8]  #: sorted, one after the other
    ends: NDArray[np.int64]  #: where each of m subwords ends, after a zero: m + 1
    firsts: NDArray[np.int64]  #: the number of subwords whose first byte is smaller than each of 0 to 256
    begins: NDArray[np.bool_]  #: whether a subword begins with each of 65536 pairs of bytes, or is the first one


# Lists


@kernel
def hash_entries(data, of_hosts, as_spelt):
    """Return hashes (uint64[m]) of the entries of a list, hosts or URLs, and what is left to the caller.

    An entry is a line without the white space (bytes up to 32) around it; lines that are blank or begin with `#` are
    none. Unless `as_spelt`, entries whose host is not ASCII have no hash: their bounds and those of their hosts come
    second (int64[k, 4]), for the caller to spell the hosts in ASCII. Entries of a list of hosts that can be none have
    no hash either: their number comes third, and last the byte at which the first of them starts, or -1.
    """
    lines, size = _extent(data)
    hashes, foreign = np.empty(lines, np.uint64), np.empty((lines, 4), np.int64)
    scratch = np.empty(size + PADDING, np.uint8)
    count, others, wrong, first_wrong = 0, 0, 0, -1
    start, end, following = _next_entry(data, 0)
    while start < data.shape[0]:
        if of_hosts:
            host_start, host_end = _without_dots(data, start, end)
            prefix, length = 0, host_end - host_start
            may_be, is_ascii = _write_host(data, host_start, host_end, scratch)
        else:
            host_start, host_end, _ = _host(data, start, end)
            prefix, _, length = _normalize(data, start, end, scratch)
            may_be, is_ascii = True, _is_ascii(data, host_start, host_end)
        if not may_be:
            first_wrong = start if wrong == 0 else first_wrong
            wrong += 1
        elif not (as_spelt or is_ascii):
            foreign[others, 0], foreign[others, 1] = start, end
            foreign[others, 2], foreign[others, 3] = host_start, host_end
            others += 1
        else:
            hashes[count] = hash_word(scratch, prefix, length - prefix)
            count += 1
        start, end, following = _next_entry(data, following)
    return hashes[:count], foreign[:others].copy(), wrong, first_wrong


@kernel
def hash_words(data, offsets, classes, lower):
    """Return the hash (uint64[n]) of each of n texts as `match_urls` sees words, and these, one after the other.

    That is in lower case, without what is neither letter nor digit. The words come second (uint8) and third (where each
    ends, after a zero: int64[n + 1]); the hash of an empty one is zero.
    """
    count = offsets.shape[0] - 1
    hashes, ends = np.empty(count, np.uint64), np.zeros(count + 1, np.int64)
    size = offsets[count] - offsets[0]
    words, bounds = np.empty(size + size // 2 + PADDING, np.uint8), np.empty(longest(offsets) + 2, np.int64)
    for i in range(count):
        start = ends[i]
        pieces = _write_words(data, offsets[i], offsets[i + 1], words[start:], bounds, classes, lower)
        ends[i + 1] = start + bounds[pieces]
        hashes[i] = hash_word(words, start, bounds[pieces]) if pieces > 0 else _NO_WORD
    return hashes, words[: ends[count]].copy(), ends


@kernel
def _extent(data):
    """Return the number of lines and the bytes of the longest."""
    lines, size, start = 1, 0, 0
    for i in range(data.shape[0]):
        if data[i] == _LINE_FEED:
            lines += 1
            size = max(size, i - start)
            start = i + 1
    return lines, max(size, data.shape[0] - start)


@kernel
def _next_entry(data, start):
    """Return start and end of the first entry at or after `start`, which begins a line, and the next line's start.

    Without an entry all three are the length of the data.
    """
    size = data.shape[0]
    while start < size:
        end = start
        while end < size and data[end] != _LINE_FEED:
            end += 1
        left, right = _trimmed(data, start, end)
        if left < right and data[left] != _NUMBER_SIGN:
            return left, right, end + 1
        start = end + 1
    return size, size, size


@kernel
def _write_host(data, start, end, out):
    """Write a host in lower case to `out`; return whether it has no byte that no host has, and whether it is ASCII."""
    right, bits, colon_is_right = start < end, np.uint8(0), start < end and data[start] == _OPEN
    for i in range(start, end):  # without branches: lists are long
        c = data[i]
        letter, digit = np.uint8((c | np.uint8(32)) - np.uint8(97)) < 26, np.uint8(c - np.uint8(48)) < 10
        sign = (c == _FULL_STOP) | (c == _HYPHEN) | (c == _UNDERSCORE) | (c == _OPEN) | (c == _CLOSE)
        right &= letter | digit | sign | (c >= 0x80) | ((c == _COLON) & colon_is_right)
        bits |= c
        out[i - start] = c | np.uint8(32) if letter else c
    return right, bits < 0x80


# URLs


@kernel
def host_bounds(data, offsets):
    """Return where the hosts of n URLs start and end (int64[n, 2]). data: uint8; offsets: int64[n + 1]."""
    bounds = np.empty((offsets.shape[0] - 1, 2), np.int64)
    for d in range(bounds.shape[0]):
        start, end = _trimmed(data, offsets[d], offsets[d + 1])
        bounds[d, 0], bounds[d, 1], _ = _host(data, start, end)
    return bounds


@kernel
def match_urls(data, offsets, spelt_data, spelt_offsets, lists, soft_limit, classes, lower):
    """Return the list that each of n URLs is in (uint8[n]), and the entries: uint8 and offsets (int64[n + 1]).

    Domains and URLs are those of `spelt_data`, the URLs with their hosts in ASCII; words those of `data`. Of several
    domains the longest is returned, of words and subwords the one that comes first, of subwords that begin at one place
    the shortest, of soft words all, in the URL's order.

    data: uint8 UTF-8; offsets: int64[n + 1]; classes: `character_classes()`; lower: `lower_case()`.
    """
    count = offsets.shape[0] - 1
    size = max(longest(offsets), longest(spelt_offsets))
    kinds, out_offsets = np.zeros(count, np.uint8), np.zeros(count + 1, np.int64)
    text, bounds = np.empty(size + size // 2 + PADDING, np.uint8), np.empty(size + 2, np.int64)
    # soft words are written with a comma and a space, where a URL has a byte between them or more
    total = 2 * (offsets[count] - offsets[0]) + spelt_offsets[count] - spelt_offsets[0]
    out = np.empty(total + total // 2 + PADDING, np.uint8)
    latest = np.full(lists.soft_words.shape[0], -1)  # the URL in which a soft word was last seen
    written = 0
    for d in range(count):
        start, end = _trimmed(spelt_data, spelt_offsets[d], spelt_offsets[d + 1])
        prefix, host_end, length = _normalize(spelt_data, start, end, text)
        start = _listed_domain(text, host_end, lists.domains)
        if start < host_end:
            kinds[d] = DOMAIN
            written = _append(text, start, host_end, out, written)
        elif prefix < length and _position(lists.urls, hash_word(text, prefix, length - prefix)) >= 0:
            kinds[d] = URL
            written = _append(text, prefix, length, out, written)
        else:
            words = _write_words(data, offsets[d], offsets[d + 1], text, bounds, classes, lower)
            kinds[d], written = _match_words(text, bounds, words, lists, soft_limit, latest, d, out, written)
        out_offsets[d + 1] = written
    return kinds, out[:written].copy(), out_offsets


@kernel
def _match_words(text, bounds, words, lists, soft_limit, latest, d, out, written):
    """Match the words of URL `d` with the lists of words, in their order; return the list and the length of `out`."""
    soft, soft_end = 0, written
    for w in range(words if lists.words.shape[0] + lists.soft_words.shape[0] > 0 else 0):
        word = hash_word(text, bounds[w], bounds[w + 1] - bounds[w])
        if _position(lists.words, word) >= 0:
            return WORD, _append(text, bounds[w], bounds[w + 1], out, written)
        at = _position(lists.soft_words, word)
        if at >= 0 and latest[at] != d:
            latest[at] = d
            if soft > 0:
                out[soft_end], out[soft_end + 1] = _COMMA, _SPACE
                soft_end += 2
            soft_end = _append(text, bounds[w], bounds[w + 1], out, soft_end)
            soft += 1
    if soft >= soft_limit:
        return SOFT_WORDS, soft_end
    length = bounds[words]
    for i in range(length if lists.ends.shape[0] > 1 else 0):
        if not lists.begins[np.int64(text[i]) << 8 | np.int64(text[i + 1])]:
            continue
        for k in range(lists.firsts[text[i]], lists.firsts[np.int64(text[i]) + 1]):
            if _begins_with(text, i, length, lists.subwords, lists.ends[k], lists.ends[k + 1]):
                return SUBWORD, _append(lists.subwords, lists.ends[k], lists.ends[k + 1], out, written)
    return NO_LIST, written


@kernel
def _begins_with(text, i, length, subwords, start, end):
    if end - start > length - i:
        return False
    k = start
    while k < end and text[i + k - start] == subwords[k]:
        k += 1
    return k == end


@kernel
def _listed_domain(host, length, domains):
    """Return where the longest domain of host[:length] that is listed starts; `length` without one."""
    if domains.shape[0] == 0 or length > LONGEST_HOST:
        return length
    start = 0
    while start < length:
        if _position(domains, hash_word(host, start, length - start)) >= 0:
            return start
        while start < length and host[start] != _FULL_STOP:
            start += 1
        start += 1
    return length


@kernel
def _position(hashes, wanted):
    """Return the position of a hash among sorted ones; -1 where it is not there."""
    low, size = 0, hashes.shape[0]
    while size > 1:
        half = size >> 1
        low += half if hashes[low + half] <= wanted else 0
        size -= half
    return low if size == 1 and hashes[low] == wanted else -1


@kernel
def _normalize(data, start, end, out):
    """Write a URL without scheme, user and last slash to `out`, its host in lower case and without dots around it.

    Returns what is to be skipped (4 for `www.`, else 0), the length of the host, and that of all.
    """
    host_start, host_end, rest = _host(data, start, end)
    host = _copy_lower(data, host_start, host_end, out)
    length = _append(data, rest, end, out, host)
    length -= length > host and out[length - 1] == _SLASH
    w = 0x77
    has_www = host > 4 and out[0] == w and out[1] == w and out[2] == w and out[3] == _FULL_STOP
    return 4 if has_www else 0, host, length


@kernel
def _host(data, start, end):
    """Return where the host of a URL starts and ends, dots around it left out, and where port and path start."""
    start = _after_scheme(data, start, end)
    stop = start
    while stop < end and data[stop] != _SLASH and data[stop] != _QUESTION_MARK and data[stop] != _NUMBER_SIGN:
        stop += 1
    for i in range(start, stop):
        if data[i] == _AT:
            start = i + 1
    host_end = start
    if start < stop and data[start] == _OPEN:
        while host_end < stop and data[host_end] != _CLOSE:
            host_end += 1
        host_end = min(host_end + 1, stop)
    else:
        while host_end < stop and data[host_end] != _COLON:
            host_end += 1
    left, right = _without_dots(data, start, host_end)
    return left, right, host_end


@kernel
def _after_scheme(data, start, end):
    """Return where a URL goes on after `scheme://` or `//`; `start` where it has neither."""
    i = start
    while i < end and _may_be_in_scheme(data[i]):
        i += 1
    i += i > start and i < end and data[i] == _COLON
    if i + 1 < end and data[i] == _SLASH and data[i + 1] == _SLASH and (i == start or data[i - 1] == _COLON):
        return i + 2
    return start


@kernel
def _may_be_in_scheme(c):
    letter, digit = np.uint8((c | np.uint8(32)) - np.uint8(97)) < 26, np.uint8(c - np.uint8(48)) < 10
    return letter or digit or c in (_PLUS, _HYPHEN, _FULL_STOP)


@kernel
def _write_words(data, start, end, text, bounds, classes, lower):
    """Write the words of data[start : end], runs of letters and digits of any script, to `text` in lower case.

    Nothing is written between them: bounds[w] is where word w starts, and bounds of their number where the last ends.
    Returns the number of words.
    """
    words, length, in_word = 0, 0, False
    bounds[0] = 0
    i = start
    while i < end:
        c, width, size = data[i], 1, 1
        if c < 0x80:
            letter, digit = np.uint8((c | np.uint8(32)) - np.uint8(97)) < 26, np.uint8(c - np.uint8(48)) < 10
            is_content = letter | digit
            text[length] = c | np.uint8(32)  # a digit has this bit
        else:
            value, width = code_point(data, i, end)
            is_content = classes[value] & CONTENT != 0
            size = put_lower(data[i : i + width], value, lower, text, length)
        bounds[words] = length
        words += is_content and not in_word
        length += size if is_content else 0
        in_word = is_content
        i += width
    bounds[words] = length
    return words


@kernel
def _trimmed(data, start, end):
    """Return the span start .. end without white space (bytes up to 32) around it."""
    while start < end and data[start] <= _SPACE:
        start += 1
    while end > start and data[end - 1] <= _SPACE:
        end -= 1
    return start, end


@kernel
def _without_dots(data, start, end):
    """Return the span start .. end without full stops around it."""
    while start < end and data[start] == _FULL_STOP:
        start += 1
    while end > start and data[end - 1] == _FULL_STOP:
        end -= 1
    return start, end


@kernel
def _is_ascii(data, start, end):
    bits = np.uint8(0)
    for i in range(start, end):
        bits |= data[i]
    return bits < 0x80


@kernel
def _copy_lower(data, start, end, out):
    """Write data[start : end] to `out`, ASCII in lower case; return its length."""
    for i in range(start, end):
        c = data[i]
        out[i - start] = c | np.uint8(32) if np.uint8(c - np.uint8(65)) < 26 else c
    return end - start


@kernel
def _append(source, start, end, out, written):
    """Append source[start : end] to out[:written]; return its new length."""
    out[written : written + end - start] = source[start:end]
    return written + end - start
