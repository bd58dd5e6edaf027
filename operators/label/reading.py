"""Reading what a model wrote: one of several answers, or JSON, from text that may have words around it.

Thoughts, tags, a box and the tokens that end a turn are taken off first. A wrong reading is worse than none: an answer
that is rejected costs one repair, a wrong one spoils a label. So words around an answer are accepted in a few plain
forms only, and never where another answer is mentioned as well.
"""

from __future__ import annotations

import json
import math
import re
import unicodedata
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from gristmill.operators.label.lenient import read_value

#: The end of the reasoning that comes before an answer, as models and servers in use write it.
_THOUGHT = re.compile(
    r"</(?:think|thinking|thought|reasoning)>|\[/THINK\]|<\|channel\|>final<\|message\|>|<\|end_thinking\|>",
    re.IGNORECASE,
)
_THINKS = re.compile(r"\s*(?:<(?:think|thinking|thought|reasoning)>|\[THINK\]|<\|channel\|>analysis)", re.IGNORECASE)
#: The tokens that end a turn, and those that begin one, where a server has left them in the text.
_END = re.compile(
    r"<\|(?:im_end|endoftext|end_of_text|eot_id|eom_id|eos|end|return|endofturn|end_of_turn_token|user|observation)\|>"
    r"|</s>|<eos>|<end_of_turn>|<turn\|>|<\uff5cend\u2581of\u2581sentence\uff5c>|\[/?EOS\]",
    re.IGNORECASE,
)
_BEGIN = re.compile(
    rf"\s*(?:{_END.pattern}|<s>|<bos>|<\|begin_of_text\|>|<\|im_start\|>(?:assistant\b)?|<start_of_turn>(?:model\b)?|"
    r"<\|start_header_id\|>assistant<\|end_header_id\|>|<\|assistant\|>)",
    re.IGNORECASE,
)
_TAGGED = re.compile(r"<(answer|final_answer|final)>(.*?)(?:</\1>|\Z)", re.IGNORECASE | re.DOTALL)
#: `\boxed{B}`; a model that wrote JSON by hand may have made a backspace of its beginning.
_BOXED = re.compile(r"(?:\\f?boxed|\\fbox|\x08oxed)\s*\{((?:[^{}]|\{[^{}]*\}){0,1000})\}")
_STYLED = re.compile(r"\\(?:text|math)\w*\s*\{([^{}]*)\}")
_MOST_TAGS = 100  # a model that repeats itself has said what it says long before
_QUOTES = "\"'`´“”„‟‘’‚‛«»‹›「」『』"
_BLANKS = " \t\r\n\u00a0\u200b\u3000\ufeff"
# Not in them: `-`, `<`, `>`, `+`, `=`, which make another answer of a number, and `?`, which makes none.
_BEFORE = _BLANKS + _QUOTES + "*_([{"
_AFTER = _BLANKS + _QUOTES + "*_)]}.,;:!。，；：！"
_BETWEEN_CODE_AND_LABEL = _BLANKS + _QUOTES + "*_)].:：–—"
#: The line that states an answer: "Answer: B", "The correct label is B", "**Final answer:** B", "Option B".
_ANNOUNCED = re.compile(
    r"[\s*_#]*+(?:(?:so|thus|therefore|hence|the|my|final|correct|best|right|most|appropriate|likely)\b[\s,*_]*+)*"
    r"(?:answer|label|option|choice|rating|score|category|class|number)\b[\s:=*_]*(?:is\b[\s:*_]*)?",
    re.IGNORECASE,
)
_ANSWER_KEYS = frozenset(
    ("answer", "label", "option", "choice", "rating", "score", "category", "class", "value", "code", "letter", "number")
)
_WORD = re.compile(r"\w+")
_JSON_BEGINS = re.compile(
    r"""\{\s*(?:["'}]|[A-Za-z_]\w*\s*:)|\[\s*(?:[\[{\]"'\d-]|(?:true|false|null|True|False|None|NaN)\b)""", re.ASCII
)
_SHOWN = 80  # characters of an answer that a message quotes


def _thoughts_end(text: str) -> int | None:
    """Return where the answer begins, after the reasoning that some models print first; None if that never ends."""
    end = None
    for match in _THOUGHT.finditer(text):
        end = match.end()
    if end is None:
        return None if _THINKS.match(text) else 0
    return end


def _bare_turn(text: str) -> str:
    """Return the text of one turn, without the tokens that begin or end it and what was written after its end."""
    start = 0
    while begin := _BEGIN.match(text, start):
        start = begin.end()
    end = _END.search(text, start)
    return text[start:] if end is None else text[start : end.start()]


def _marks(text: str) -> tuple[list[str], str]:
    r"""Return what a text marks as its answers, by `<answer>` or `\boxed{}`, and what stands after the last of them."""
    for pattern, group in ((_TAGGED, 2), (_BOXED, 1)):
        answers = []
        end = 0
        for match in pattern.finditer(text):
            answers.append(_STYLED.sub(r"\1", match[group]).strip(" $\r\n\t"))
            end = match.end()
            if len(answers) > _MOST_TAGS:
                break
        if answers:
            return list(dict.fromkeys(answers)), text[end:]
    return [], ""


class InvalidAnswer(ValueError):
    """A text that is no answer of the task; the message says why, to the model and to people."""


def without_thoughts(text: str) -> str:
    """Return the text after the reasoning that some models print first; raise InvalidAnswer if that has no end."""
    end = _thoughts_end(text)
    if end is None:
        raise InvalidAnswer("the reasoning does not end, so there is no answer")
    return text[end:]


def plain(text: str) -> str:
    """Return the text without reasoning and the tokens around its turn; raise InvalidAnswer if reasoning has no end."""
    return _bare_turn(without_thoughts(text))


def told(text: str) -> str:
    """Return the answer that a model marks as its own where it marks one, else all that it said."""
    text = plain(text)
    answers, after = _marks(text)
    return answers[0] if len(answers) == 1 and not after.strip(_AFTER) else text


def read_one(text: str, codes: Mapping[str, str]) -> str:
    """Return the label that a text names: by its code (`B`), its name, both (`B: physics`), in JSON or in a sentence.

    codes: code -> label. Raises InvalidAnswer where it names none, or not clearly one.
    """
    text = plain(text)
    label = _named(text, codes) or _in_json(text, codes) or _marked(text, codes) or _stated(text, codes)
    if label is None:
        raise InvalidAnswer(f"{quoted(text)} is none of {', '.join(codes)}")
    return label


def read_json(text: str) -> Any:
    """Return the JSON value of a text; of one with words or a code fence around it, the only object or list in it.

    JSON that is not strict is read as `lenient` does; NaN is null. No infinity, no key twice. Raises InvalidAnswer
    where there is no value, or several different ones.
    """
    try:
        return parsed(text.strip(_BLANKS))
    except InvalidAnswer:
        text = without_thoughts(text)
    if (begin := _JSON_BEGINS.search(text)) is None:
        raise InvalidAnswer(f"{quoted(text)} holds no JSON")
    value, end = _value_at(text, begin.start())
    said = json.dumps(value)
    while (begin := _JSON_BEGINS.search(text, end)) is not None:
        other, end = _value_at(text, begin.start())
        if json.dumps(other) != said:
            raise InvalidAnswer(f"{quoted(text)} holds more than one JSON value")
    return value


def _value_at(text: str, place: int) -> tuple[Any, int]:
    try:
        return _DECODER.raw_decode(text, place)
    except (ValueError, RecursionError):
        pass
    try:
        return read_value(text, place, _null_or_refused)
    except ValueError as error:
        raise _broken(text, error) from None


def parsed(text: str) -> Any:
    """Return the value of a text that is strict JSON and nothing else; raise InvalidAnswer where it is not."""
    try:
        return _DECODER.decode(text)
    except (ValueError, RecursionError) as error:
        raise _broken(text, error) from None


def as_json(value: Any) -> str:
    """Return a value as strict JSON, without blanks, in any encoding; raise InvalidAnswer where that cannot be."""
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        text.encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidAnswer(f"{quoted(str(value))} cannot be written as JSON ({shortened(str(error))})") from None
    return text


def quoted(text: str) -> str:
    """Return a text in short and in quotes, for a message."""
    return repr(shortened(text))


def shortened(text: str) -> str:
    """Return a text in one line of at most 80 characters, for a message."""
    line = " ".join(text[: 4 * _SHOWN].encode("utf-8", "replace").decode().split())
    return line if len(line) <= _SHOWN and len(text) <= 4 * _SHOWN else line[: _SHOWN - 4] + " ..."


def folded(label: str) -> str:
    """Return a label in the form that is compared: case, blanks, forms of accents and minus signs made equal."""
    return unicodedata.normalize("NFC", " ".join(label.split())).replace("\u2212", "-").casefold()


def by_name(text: str, labels: Sequence[str]) -> str | None:
    """Return the label that a text is, quotes and a full stop around it aside; None where it is none."""
    names = _names(tuple(labels))
    if len(text) > names.longest:
        return None
    return names.exact.get(folded(text)) or names.bare.get(folded(_bare(text)))


class _Names(NamedTuple):
    exact: dict[str, str]  #: folded label -> label
    bare: dict[str, str]  #: the same with nothing around it, where that tells labels apart
    longest: int  #: characters that a text may have to be compared at all


@lru_cache(maxsize=64)
def _names(labels: tuple[str, ...]) -> _Names:
    bare = [folded(_bare(label)) for label in labels]
    apart = {name: label for name, label in zip(bare, labels, strict=True) if bare.count(name) == 1}
    return _Names({folded(label): label for label in labels}, apart, 64 + 2 * max(map(len, labels)))


def _bare(text: str) -> str:
    return text.lstrip(_BEFORE).rstrip(_AFTER)


def _named(text: str, codes: Mapping[str, str]) -> str | None:
    """Return the label of a text that is nothing but its code, its name, or both."""
    text, labels = text.strip(_BLANKS), tuple(codes.values())
    if len(text) > _names(labels).longest:
        return None
    bare = _bare(text)
    return codes.get(bare) or by_name(text, labels) or _by_code(bare, codes) or _by_both(bare, codes)


def _by_code(code: str, codes: Mapping[str, str]) -> str | None:
    """Return the label of a code; one in lower case stands for that in upper case, if it is no code itself."""
    return codes.get(code) or (codes.get(code.upper()) if code.isascii() else None)


def _by_both(bare: str, codes: Mapping[str, str]) -> str | None:
    """Return the label of `B: physics`, `B) physics`, `B - physics`, `physics (B)` where code and label agree."""
    if bare[-2:-1] in ("(", "["):
        code, names = bare[-1], [bare[:-2]]
    elif len(bare) > 1 and not bare[1].isalnum():
        name = bare[1:].lstrip(_BETWEEN_CODE_AND_LABEL)
        code, names = bare[0], [name, name.removeprefix("- ")]
    else:
        return None
    label = _by_code(code, codes)
    # A code that is its own label proves nothing: 4.4 is not 4.
    return label if label is not None and label != code and label in (by_name(n, (label,)) for n in names) else None


def _in_json(text: str, codes: Mapping[str, str]) -> str | None:
    """Return the label in the answer of a JSON object, such as {"answer": "B", "reason": "..."}."""
    if "{" not in text:
        return None
    try:
        value = read_json(text)
    except InvalidAnswer:
        return None
    answers = [value[key] for key in value if folded(key) in _ANSWER_KEYS] if isinstance(value, dict) else []
    labels = {_named(_as_text(answer), codes) for answer in answers}
    return labels.pop() if len(labels) == 1 else None


def _as_text(value: Any) -> str:
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value) if isinstance(value, str | int) else ""


def _marked(text: str, codes: Mapping[str, str]) -> str | None:
    """Return the label of all that a text marks as its answer, if they agree and nothing after them names another."""
    answers, after = _marks(text)
    labels = {_named(answer, codes) or _in_json(answer, codes) or _announced(answer, codes) for answer in answers}
    label = labels.pop() if len(labels) == 1 else None
    return label if label is not None and not _mentions_another(after, label, codes) else None


def _stated(text: str, codes: Mapping[str, str]) -> str | None:
    """Return the label that the first line is, or the first or last announces, if other lines mention no other."""
    lines = [line for line in text.splitlines() if line.strip()]
    if not lines:
        return None
    first, last = _named(lines[0], codes) or _announced(lines[0], codes), _announced(lines[-1], codes)
    if first is not None and not _mentions_another("\n".join(lines[1:]), first, codes):
        return first
    if last is not None and not _mentions_another("\n".join(lines[:-1]), last, codes):
        return last
    return None


def _announced(line: str, codes: Mapping[str, str]) -> str | None:
    match = _ANNOUNCED.match(line)
    return None if match is None else _named(line[match.end() :], codes)


def _mentions_another(text: str, label: str, codes: Mapping[str, str]) -> bool:
    if not {code for code in codes if codes[code] != label}.isdisjoint(_WORD.findall(text)):
        return True
    words = _words(text).replace(_words(label), "  ")
    return any(_mentions(text, words, other) for other in codes.values() if other != label)


def _mentions(text: str, words: str, label: str) -> bool:
    if label.isascii() and _WORD.search(label):
        return _words(label) in words
    return label.casefold() in text.casefold()  # a script that may write without blanks, or no word at all


def _words(text: str) -> str:
    return f" {' '.join(_WORD.findall(text.casefold()))} "


def _broken(text: str, error: Exception) -> InvalidAnswer:
    return InvalidAnswer(f"{quoted(text)} is no JSON that can be read ({shortened(str(error))})")


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is no JSON")


def _null_or_refused(constant: str) -> None:
    """Return None for NaN, which is null everywhere; refuse an infinity."""
    if constant.lower() != "nan":
        _refuse(constant)


def _finite(number: str) -> float:
    value = float(number)
    return value if math.isfinite(value) else _refuse(shortened(number))


def _with_keys_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    return value if len(value) == len(pairs) else _refuse("an object with the same key twice")


_DECODER = json.JSONDecoder(parse_constant=_refuse, parse_float=_finite, object_pairs_hook=_with_keys_once)
