"""What models really write, and what they should never be taken to have written."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gristmill.operators.label.reading import InvalidAnswer, as_json, quoted, read_json, read_one, without_thoughts

TOPICS = {"A": "world", "B": "sport", "C": "political science", "D": "science"}
SCORES = {str(n): str(n) for n in range(6)}
SIGNED = {code: str(n) for code, n in zip("ABCDEFGHIJK", range(-5, 6), strict=True)}
MANY = {chr(65 + i): f"label {i}" for i in range(26)}

WRITTEN = [
    *[(text, "sport") for text in ("B", "b", " B\n", "B.", "(B)", "[B]", "**B**", "`B`", '"B"', "“B”", "『B』", "B)")],
    *[(text, "sport") for text in ("sport", "Sport", "SPORT.", "**Sport**", "'sport'", "\ufeffsport", "«Sport»")],
    *[(text, "sport") for text in ("B: sport", "B) Sport", "(B) sport", "**B**: Sport", "B - sport", "B. sport.")],
    *[(text, "sport") for text in ("b: sport", "sport (B)", "Sport [B].", "B\nsport")],
    *[(text, "sport") for text in ("Answer: B", "The answer is B.", "**Answer:** B", "Option B", "Label: sport")],
    *[(text, "sport") for text in ("So the correct answer is **B: sport**.", "My final answer is: b", "answer = B")],
    *[(text, "sport") for text in ("B\n\nExplanation: a text on sport.", "It says who won.\nAnswer: B")],
    *[(text, "sport") for text in ('{"answer": "B"}', '{"label": "Sport"}', '```json\n{"answer": "B"}\n```')],
    *[(text, "sport") for text in ('{"answer": "B", "reason": "not A"}', 'Sure:\n{"answer": "B"}\nDone.')],
    *[(text, "sport") for text in ('{"answer": "B", "label": "sport"}', '["B"]')],
    *[(text, "sport") for text in ("<think>A or B? The answer is A.</think>\n\nB", "the answer is A</think>B")],
    *[
        (text, "sport")
        for text in ("<answer>B</answer>", "Not A.\n<answer> sport </answer>", "<answer>B", "<final>b</final>")
    ],
    *[(text, "sport") for text in (r"\boxed{B}", r"So it is $\boxed{\text{Sport}}$.", "\boxed{B}", r"**\boxed{B}**")],
    *[
        (text, "sport")
        for text in ("B<|im_end|>", "B</s>", "<s> B</s></s>", "sport<|eot_id|>\nA", "B<｜end▁of▁sentence｜>")
    ],
    *[
        (text, "sport")
        for text in ("<|im_start|>assistant\nB<|im_end|>\n<|im_start|>user\nA", "<answer>B</answer></s>")
    ],
    *[
        (text, "sport")
        for text in ("<thinking>A</thinking>B", "[THINK]A[/THINK]B", "{'answer': 'B',}", '{answer: "B"}')
    ],
    *[(text, "sport") for text in ('{"answer": "B", "why": "two\nlines"}', '<answer>{"answer": "B"}</answer>')],
    ("<|channel|>analysis<|message|>A or B<|end|><|start|>assistant<|channel|>final<|message|>B<|return|>", "sport"),
    ("political  science", "political science"),
    ("Answer: C\nThis is political science.", "political science"),
]
NOT_WRITTEN = [
    "", " ", "\n\n", "E", "e", "?", "B?", "AB", "A B", "A, B", "A/B", "A and B", "B or C", "A\nB", "A: sport", "A (B)",
    "not B", "anything but sport", "The answer is not B", "The answer is B or C", "Answer: B, C", "no", "none", "N/A",
    "The answer is A hard one to give", "the option a reader takes", "If it is new, the answer is B", "sports",
    "I cannot help with that.", "As an AI, I can't answer.", "Is the answer B? No, the answer is C", "B is wrong",
    "Answer: A\nActually B is better", "A\n\nOr rather sport.", "Answer: B\nAnswer: C", "<think>The answer is B",
    "<think>B</think>", '{"answer": "A", "label": "B"}', '{"not": "B"}', '{"A": 0.1, "B": 0.9}', '{"answer": ["B"]}',
    '{"answer": "A"} {"answer": "B"}', '{"answer": "A", "answer": "B"}', '["A", "B"]', '{"answer": null}',
    '{"answer": "B"', '{"labels": {"answer": "B"}, "x', "A: world, B: sport", "-", ".", "null", "Answer:",
    "<answer>A</answer><answer>B</answer>", "<answer>B</answer> No, it is A.", "<answer></answer>",
    "<answer>A or B</answer>",
    r"\boxed{}", r"\boxed{A or B}", r"\boxed{A} or \boxed{B}", r"\boxed{B", "<|im_end|>", "<thinking>B", "[THINK]B",
    "<|channel|>analysis<|message|>The answer is B", "{'answer': 'A', 'label': 'B'}",
]  # fmt: skip


@pytest.mark.parametrize(("text", "label"), WRITTEN)
def test_reads_what_models_write(text: str, label: str) -> None:
    assert read_one(text, TOPICS) == label


@pytest.mark.parametrize("text", NOT_WRITTEN)
def test_rejects_what_is_not_clearly_one_answer(text: str) -> None:
    with pytest.raises(InvalidAnswer):
        read_one(text, TOPICS)


@pytest.mark.parametrize(
    ("text", "number"),
    [("4", "4"), ("4.", "4"), ("Score: 4", "4"), ('{"score": 4}', "4"), ('{"score": 4.0}', "4"), ("**4**", "4")],
)
def test_reads_numbers(text: str, number: str) -> None:
    assert read_one(text, SCORES) == number


@pytest.mark.parametrize(
    "text",
    ["-4", ".4", "<4", ">4", "4+", "~4", "4.4", "4.5", "4-4", "4-5", "3 to 4", "4/5", "44", "4 4", "Score: -4", "1e0",
     "Rating: 3-4", '{"score": 4.5}', '{"score": true}', "Score: 3 or 4", "4\nThere are 3 reasons", "four", "½", "4%"],
)  # fmt: skip
def test_another_number_is_not_taken_for_a_score(text: str) -> None:
    with pytest.raises(InvalidAnswer):
        read_one(text, SCORES)


@pytest.mark.parametrize(
    ("text", "number"),
    [("-5", "-5"), ("\u22125", "-5"), ("5", "5"), ("A", "-5"), ("K: 5", "5"), ("A: -5", "-5"), ("Answer: -3", "-3")],
)
def test_signs_count(text: str, number: str) -> None:
    assert read_one(text, SIGNED) == number


@pytest.mark.parametrize("text", ["A: 5", "A - 5", "K-5", "K: -5", "- 5", "+5"])
def test_a_sign_that_may_be_a_dash_is_rejected(text: str) -> None:
    with pytest.raises(InvalidAnswer):
        read_one(text, SIGNED)


@pytest.mark.parametrize("text", ["I cannot say", "A text about labels", "I", "A", "N/A", "I.", "Label 3"])
def test_words_of_one_letter_are_codes_only_alone(text: str) -> None:
    expected = {"I": "label 8", "I.": "label 8", "A": "label 0", "Label 3": "label 3"}.get(text)
    if expected is None:
        with pytest.raises(InvalidAnswer):
            read_one(text, MANY)
    else:
        assert read_one(text, MANY) == expected


def test_labels_that_differ_by_what_stands_around_them() -> None:
    codes = {"A": "C", "B": "C.", "C": "(C)x", "D": "u.s."}
    assert read_one("B", codes) == "C."
    assert read_one("u.s", codes) == "u.s."
    assert read_one("D: U.S.", codes) == "u.s."


def test_other_scripts_are_seen_when_they_are_mentioned() -> None:
    codes = {"A": "物理", "B": "生物"}
    assert read_one("物理", codes) == "物理"
    assert read_one("A\n这是物理学", codes) == "物理"
    with pytest.raises(InvalidAnswer):
        read_one("A\n其实是生物学", codes)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"a": 1}', {"a": 1}),
        ("[1, 2]", [1, 2]),
        ("4", 4),
        ('Here: {"a": [1, {"b": "}"}]} as asked.', {"a": [1, {"b": "}"}]}),
        ('```json\n{"a": 1}\n```', {"a": 1}),
        ('A set {x} gives {"a": 1}', {"a": 1}),
        ('<think>{"a": 0}</think>{"a": 1}', {"a": 1}),
        ('{"a": "</think>"}', {"a": "</think>"}),
        ('{"a": "one\nline\t\x01"}', {"a": "one\nline\t\x01"}),
        ('{"a": [1, 2,], "b": {},}', {"a": [1, 2], "b": {}}),
        ("{'a': 'it\\'s \"so\"', 'b': [True, False, None]}", {"a": 'it\'s "so"', "b": [True, False, None]}),
        ('{"a": NaN, "b": [-1.5e3, 2]}', {"a": None, "b": [-1500.0, 2]}),
        (r'{"a": "\U0001F600 \x41 \ud83d\ude00 \alpha"}', {"a": "😀 A 😀 \\alpha"}),
        (r'{"a": "\ud83d"}', {"a": "\ud83d"}),
        ('{a: 1, b_2: "x",}', {"a": 1, "b_2": "x"}),
        ('\ufeff{"a": 1}', {"a": 1}),
        ("Here it is:\n```json\n{'a': 1,}\n```<|im_end|>", {"a": 1}),
        ('<answer>{"a": 1}</answer>', {"a": 1}),
        ('{"a": 1}\n{"a": 1}', {"a": 1}),
    ],
)
def test_reads_json(text: str, value: object) -> None:
    assert read_json(text) == value


@pytest.mark.parametrize(
    "text",
    ["", "no JSON", '{"a": [1, 2], "b', '{"result": {"x": 1}, "tru', "[Infinity]", "[1e999]", "{'a': Infinity}",
     "{'a': 1", "{'a': 1, 'a': 2}", "{'a' 1}", '{"a": "x\ny}', "['a' 'b']", "{a: b}", "[01,]", "[1 2,]", "{,}", "[,]",
     '{"a": 1, "a": 2}', '{"a": 1} or {"a": 2}', '{"a": 1} {"a": true}', '{"a": 1} {"a',
     "[" * 100_000, '{"a":' * 100_000, "9" * 5000, '["x {"a": 1}'],
)  # fmt: skip
def test_rejects_json_that_is_broken_or_not_alone(text: str) -> None:
    with pytest.raises(InvalidAnswer):
        read_json(text)


@pytest.mark.parametrize(
    "piece",
    ["a", "A", "{", "[", '{"', "[{", "[x", "<think>", "</think>", "answer ", "so,the", "\n", "\ud800", "`", "*",
     "9", "(", " ", "A ", "answer: ", "<answer>", "</answer>", "<answer>A", r"\boxed{", "</s>", "<s>", "{'",
     "{a:", "['", '["\\', "[1,", "{'a':", "<|im_end|>"],
)  # fmt: skip
def test_a_megabyte_of_one_piece_is_read_or_rejected(piece: str) -> None:
    text = piece * (1_000_000 // len(piece))
    for read in (lambda: read_one(text, TOPICS), lambda: read_json(text)):
        with pytest.raises(InvalidAnswer) as caught:
            read()
        assert len(str(caught.value)) < 400


def test_a_model_that_says_the_same_over_and_over_has_said_it() -> None:
    assert read_one("B\n" * 500_000, TOPICS) == "sport"
    assert read_json("[1]" * 333_333) == [1]


PIECES = st.sampled_from(
    ["A", "B", "b", "sport", "Answer", ":", " ", "\n", "{", "}", "[", "]", '"answer"', '"', ",", "<think>", "</think>",
     "-", "is", "not", "1", "NaN", "'", "<answer>", "</answer>", r"\boxed{", "</s>", "\\", r"\u12",
     "None", "\ud800", "*", "the", "political", "science", "(", ")", "world"]
)  # fmt: skip
TEXTS = st.text() | st.lists(PIECES, max_size=12).map("".join)


@given(TEXTS)
def test_nothing_but_invalid_answer_is_raised(text: str) -> None:
    for read in (lambda: read_one(text, TOPICS) in TOPICS.values(), lambda: as_json(read_json(text)) != ""):
        try:
            assert read()
        except InvalidAnswer as error:
            str(error).encode()


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner), max_leaves=9))
def test_strict_json_is_read_as_the_standard_library_reads_it(value: object) -> None:
    assert read_json(json.dumps(value)) == value


def test_thoughts_are_left_out() -> None:
    assert without_thoughts("<think>x</think> y") == " y"
    assert without_thoughts("x </think> z </think>y") == "y"
    with pytest.raises(InvalidAnswer, match="does not end"):
        without_thoughts(" <think>x")


@given(st.text())
def test_quotations_are_short_and_can_be_encoded(text: str) -> None:
    assert len(quoted(text * 50)) <= 1000
    quoted(text).encode()


@pytest.mark.parametrize("value", ["\ud800", float("nan"), float("inf"), {1, 2}, b"x"])
def test_what_is_no_json_is_not_written(value: object) -> None:
    with pytest.raises(InvalidAnswer):
        as_json(value)
