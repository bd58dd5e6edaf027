"""The text around an answer that a model wrote: its thoughts, tags, a box, the tokens that end its turn."""

from __future__ import annotations

import re

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


def thoughts_end(text: str) -> int | None:
    """Return where the answer begins, after the reasoning that some models print first; None if that never ends."""
    end = None
    for found in _THOUGHT.finditer(text):
        end = found.end()
    if end is None:
        return None if _THINKS.match(text) else 0
    return end


def bare_turn(text: str) -> str:
    """Return the text of one turn, without the tokens that begin or end it and what was written after its end."""
    start = 0
    while begin := _BEGIN.match(text, start):
        start = begin.end()
    end = _END.search(text, start)
    return text[start:] if end is None else text[start : end.start()]


def marked(text: str) -> tuple[list[str], str]:
    r"""Return what a text marks as its answers, by `<answer>` or `\boxed{}`, and what stands after the last of them."""
    for pattern, group in ((_TAGGED, 2), (_BOXED, 1)):
        found = []
        end = 0
        for match in pattern.finditer(text):
            found.append(_STYLED.sub(r"\1", match[group]).strip(" $\r\n\t"))
            end = match.end()
            if len(found) > _MOST_TAGS:
                break
        if found:
            return list(dict.fromkeys(found)), text[end:]
    return [], ""
