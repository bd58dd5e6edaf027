r"""Pre-tokens of byte-level tokenizers: the pieces that regular expressions cut a text into, found 64 bytes at a time.

Each byte of a text gets the class of its character; the masks of a block of 64, one bit for each byte, tell by shifts
where pieces begin. Two families of expressions are known:

- GPT-2: `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`
- cl100k, Llama 3, Qwen 2: `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*`
  `|\s*[\r\n]+|\s+(?!\S)|\s+`, where n digits at most are 3 or 1

`mark_starts` leaves two things to `piece_stop`: runs of digits are whole, and an apostrophe is one piece with the
letters after it.
"""

# mypy: ignore-errors
from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gristmill.operators.kernels.characters import code_point
from gristmill.operators.kernels.compiling import borrowing
from gristmill.operators.kernels.primitives import bytes_with, trailing_zeros
from gristmill.operators.kernels.words import next_beyond_ascii

#: Classes of characters, bits: letters, numbers, white space; all else has none of them.
LETTER, NUMBER, SPACE = np.uint8(1), np.uint8(2), np.uint8(4)
#: Of these bytes: " "; carriage return and line feed; "'".
_BLANK, _LINE_END, _APOSTROPHE = np.uint8(8), np.uint8(16), np.uint8(32)
#: What `piece_stop` looks at, if pieces begin with it.
TO_CUT = np.uint8(NUMBER | _APOSTROPHE)
#: A byte that continues a character.
_CONTINUES = np.uint8(64)

#: Bytes that scratch is longer than a text.
ROOM = 192
_ONE, _LAST = np.uint64(1), np.uint64(63)


class Pattern(NamedTuple):
    """A regular expression that cuts texts, and how characters are classed."""

    classes: NDArray[np.uint8]  #: [0x110000] LETTER, NUMBER, SPACE or 0 of each code point
    like_gpt2: bool  #: else like cl100k
    digits: int  #: that are one piece at most; 0 where there is no limit


@borrowing
def classify(text, length, classes, table):
    """Write the class of each of the first `length` bytes of a text: that of its character, in `table`.

    Both are uint8[length + ROOM] or longer. What follows the text is classed as white space that is no blank.
    """
    _classify_ascii(text, length, classes)
    start = next_beyond_ascii(text, 0, length)
    while start < length:
        value, width = code_point(text, start, length)
        kind = table[value]
        classes[start] = kind
        for k in range(1, width):
            classes[start + k] = kind | _CONTINUES
        start += width
        if text[start] < 0x80:
            start = next_beyond_ascii(text, start, length)
    classes[length : length + ROOM] = SPACE


@borrowing
def _classify_ascii(text, length, classes):
    """Do so for ASCII by comparisons: the compiler makes vector instructions of them."""
    for k in range(length):
        c = text[k]
        blank = c == np.uint8(32)
        line_end = (c == np.uint8(10)) | (c == np.uint8(13))
        space = blank | (np.uint8(c - np.uint8(9)) < np.uint8(5))
        kind = SPACE if space else np.uint8(0)
        kind |= LETTER if np.uint8((c | np.uint8(32)) - np.uint8(97)) < np.uint8(26) else np.uint8(0)
        kind |= NUMBER if np.uint8(c - np.uint8(48)) < np.uint8(10) else np.uint8(0)
        kind |= _BLANK if blank else np.uint8(0)
        kind |= _LINE_END if line_end else np.uint8(0)
        kind |= _APOSTROPHE if c == np.uint8(39) else np.uint8(0)
        classes[k] = kind


@borrowing
def mark_starts(classes, length, like_gpt2, starts):
    """Set the bits of `starts` (uint64, one bit for each byte and one for the end of the text) where pieces begin.

    The end of the text is one of them.
    """
    # Of each mask the last bit of the block before is carried into the shift by one to the next byte.
    letter0 = number0 = other0 = space0 = blank0 = rest0 = line_end0 = own_line_end0 = gulped0 = np.uint64(0)
    first0 = second0 = third0 = fourth0 = late = np.uint64(0)
    spaces = bytes_with(classes, 0, SPACE)
    for block in range((length >> 6) + 1):
        at = block << 6
        letters, numbers = bytes_with(classes, at, LETTER), bytes_with(classes, at, NUMBER)
        blanks, continues = bytes_with(classes, at, _BLANK), bytes_with(classes, at, _CONTINUES)
        spaces_ahead = bytes_with(classes, at + 64, SPACE)
        others = ~(letters | numbers | spaces)
        after_other, after_blank = others << _ONE | other0, blanks << _ONE | blank0
        letter_runs = letters & ~(letters << _ONE | letter0)
        number_runs = numbers & ~(numbers << _ONE | number0)
        other_runs = others & ~after_other & ~after_blank  # a blank before them is a part of the piece
        # the last white space before something else begins a piece: here its last byte
        last_spaces = spaces & ~(spaces >> _ONE | spaces_ahead << _LAST)
        if like_gpt2:
            # of the letters after a single apostrophe, `piece_stop` says whether they are a piece
            first = other_runs & bytes_with(classes, at, _APOSTROPHE)
            joined = first << _ONE | first0
            first0 = first >> _LAST
            letter_runs &= ~(joined | after_blank)
            number_runs &= ~after_blank
            found = spaces & ~(spaces << _ONE | space0)
        else:
            line_ends = bytes_with(classes, at, _LINE_END)
            # line ends after other characters belong to these: an addition carries through the run of ones
            seeds = line_ends & (after_other | gulped0)
            gulped = line_ends & ~(line_ends + seeds)
            gulped0 = gulped >> _LAST
            own_spaces, own_line_ends = spaces & ~gulped, line_ends & ~gulped
            rest = own_spaces & ~line_ends
            after_rest, after_line_end = rest << _ONE | rest0, own_line_ends << _ONE | line_end0
            last_spaces &= rest
            found = own_spaces & ~(own_spaces << _ONE | own_line_end0)
            found |= rest & after_line_end
            # letters after a single other character, or after white space: one piece with it
            first = other_runs
            one = first << _ONE | first0
            two = (one & continues) << _ONE | second0
            three = (two & continues) << _ONE | third0
            four = (three & continues) << _ONE | fourth0
            first0, second0 = first >> _LAST, (one & continues) >> _LAST
            third0, fourth0 = (two & continues) >> _LAST, (three & continues) >> _LAST
            letter_runs &= ~(((one | two | three | four) & ~continues) | after_rest)
            rest0, line_end0, own_line_end0 = rest >> _LAST, own_line_ends >> _LAST, own_spaces >> _LAST
            late = own_line_ends & after_rest
        starts[block] = found | letter_runs | number_runs | other_runs | (last_spaces & ~continues)
        while late != 0:
            _join_lines(classes, at + trailing_zeros(late), starts)
            late &= late - _ONE
        wide = last_spaces & continues
        while wide != 0:
            lead = at + trailing_zeros(wide)
            while classes[lead] & _CONTINUES:
                lead -= 1
            starts[lead >> 6] |= _ONE << np.uint64(lead & 63)
            wide &= wide - _ONE
        letter0, number0, other0, space0 = letters >> _LAST, numbers >> _LAST, others >> _LAST, spaces >> _LAST
        blank0, spaces = blanks >> _LAST, spaces_ahead
    starts[length >> 6] |= _ONE << np.uint64(length & 63)


@borrowing
def _join_lines(classes, line_end, starts):
    """Join white space before a line end, a part of the run of white space that it ends, with the lines before it.

    Those after other characters belong to these, and stay apart from it.
    """
    start = line_end - 1
    while start >= 0 and classes[start] & SPACE and not classes[start] & _LINE_END:
        start -= 1
    before = start
    while before >= 0 and classes[before] & _LINE_END:
        before -= 1
    gulped = before >= 0 and not classes[before] & (LETTER | NUMBER | SPACE)
    if before < start and not gulped:
        start += 1
        starts[start >> 6] &= ~(_ONE << np.uint64(start & 63))


@borrowing
def piece_stop(text, classes, start, stop, like_gpt2, digits):
    """Return where the first piece of text[start : stop] ends, of what `mark_starts` left whole."""
    if classes[start] & NUMBER:
        if digits == 0:
            return stop
        for _ in range(digits):
            start += 1
            while classes[start] & _CONTINUES:
                start += 1
            if start >= stop:
                return stop
        return start
    if not classes[start] & _APOSTROPHE or start + 1 >= stop or not classes[start + 1] & LETTER:
        return stop
    contracted = _contraction(text, start + 1, like_gpt2)
    if contracted > 0:
        return min(start + 1 + contracted, stop)
    return start + 1 if like_gpt2 else stop


@borrowing
def _contraction(text, at, like_gpt2):
    """Return the length of the s, t, m, d, re, ve or ll at text[at], in bytes, or 0: any case, but for GPT-2."""
    fold = np.uint8(0) if like_gpt2 else np.uint8(32)
    first, second = text[at] | fold, text[at + 1] | fold
    if first == 115 or first == 116 or first == 109 or first == 100:
        return 1
    if (first == 114 or first == 118) and second == 101:
        return 2
    if first == 108 and second == 108:
        return 2
    long_s = not like_gpt2 and text[at] == 0xC5 and text[at + 1] == 0xBF  # its case folds to that of s
    return 2 if long_s else 0
