"""The kinds of answers: what is read comes back, soft labels against brute force, tasks that cannot be asked."""

from __future__ import annotations

import itertools
import json
import math
import pickle
import re
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from gristmill.operators.label.answers import LETTERS, AnswerFormat, Choice, Free, InvalidAnswer, Multi, Scale

FORMATS: TypeAdapter[Any] = TypeAdapter(AnswerFormat)
TOPICS = {"world": "politics and war", "sport": "", "science": "research"}
PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer", "minimum": 0}},
    "required": ["name"],
    "additionalProperties": False,
}

LABELS = st.lists(st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=12), min_size=2, max_size=52)
LOGPROBS = st.floats(-60, 1e-6) | st.sampled_from([-math.inf, -9999.0, 0.0])


def choice_of(labels: list[str]) -> Choice:
    try:
        return Choice(choice=labels)
    except ValidationError:
        assume(False)
        raise


def mistakes(value: Any) -> str:
    with pytest.raises(ValidationError) as caught:
        FORMATS.validate_python(value)
    return str(caught.value)


@given(LABELS)
def test_every_choice_comes_back_from_its_code_and_from_its_name(labels: list[str]) -> None:
    answer = choice_of(labels)
    completions = [answer.completion(label) for label in answer.choice]
    assert len(set(completions)) == len(labels)
    assert set(completions) <= set(answer.constraint().slots[0])
    for label, code in zip(answer.choice, completions, strict=True):
        assert answer.read(code) == label
        assert answer.canonical(label) == label
        assert answer.canonical(label.upper()) in answer.choice or label.upper().casefold() != label.casefold()
        assert answer.read(f" {code}.\n") == label


@given(st.integers(-60, 60), st.integers(1, 51))
def test_every_number_of_a_scale_comes_back(low: int, more: int) -> None:
    answer = Scale(scale=(low, low + more))
    for number in range(low, low + more + 1):
        assert answer.read(answer.completion(str(number))) == str(number)
        assert answer.read(str(number)) == str(number)
        assert answer.read(f"Score: {number}.") == str(number)
        for value in (number, float(number), str(number), f"{number}.0", f" {number} "):
            assert answer.canonical(value) == str(number)
    for value in (low - 1, low + more + 1, low + 0.5, "", "x", None, True, "nan", math.inf, [low], 10**400):
        with pytest.raises(InvalidAnswer):
            answer.canonical(value)


@given(LABELS, st.data())
def test_every_set_of_labels_comes_back(labels: list[str], data: st.DataObject) -> None:
    try:
        answer = Multi(multi=labels)
    except ValidationError:
        assume(False)
    chosen = data.draw(st.lists(st.sampled_from(list(answer.multi)), unique=True))
    stored = answer.canonical(chosen)
    assert json.loads(stored) == [label for label in answer.multi if label in chosen]
    row = answer.completion(stored)
    assert re.fullmatch(answer.constraint().pattern or "", row)
    for text in (row, stored, row.lower(), row.replace(" ", ", "), f"```\n{row}\n```", f'{{"labels": {stored}}}'):
        assert answer.read(text) == stored
    assert answer.canonical(stored) == stored


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), st.lists, max_leaves=9))
@example([math.nan, [1.5, math.nan]])
def test_free_answers_are_stored_once_for_all(value: Any) -> None:
    answer = Free(json_schema={})
    try:
        stored = answer.read(json.dumps(value))
    except InvalidAnswer:
        assert re.search(r"NaN|Infinity|\\ud[89a-f]", json.dumps(value))
        return
    stored.encode()
    assert answer.read(answer.completion(stored)) == answer.canonical(stored) == stored
    assert json.loads(stored) == without_nan(value)


def without_nan(value: Any) -> Any:
    """A value with null for what is not a number, as answers are read."""
    if isinstance(value, list):
        return [without_nan(held) for held in value]
    return None if isinstance(value, float) and math.isnan(value) else value


@pytest.mark.parametrize("answer", [Choice(choice=TOPICS), Scale(scale=(0, 5)), Scale(scale=(-5, 5)),
                                    Multi(multi=TOPICS), Free(json_schema=PERSON)])  # fmt: skip
@given(text=st.text() | st.lists(st.sampled_from(["Y", "N", " ", "A", "5", "-", "[", "]", '"', "{", "}", ":", ",",
                                                  "sport", "name", "answer", "\ud800", "9" * 5000]), max_size=9
                                 ).map("".join))  # fmt: skip
def test_reading_raises_nothing_else_and_what_is_read_is_canonical(answer: Any, text: str) -> None:
    try:
        read = answer.read(text)
    except InvalidAnswer:
        return
    assert answer.canonical(read) == read
    assert answer.read(answer.completion(read)) == read


@pytest.mark.parametrize(
    ("text", "labels"),
    [("Y N Y", ["world", "science"]), ("N N N", []), ("y, n, y", ["world", "science"]), ("Yes No No", ["world"]),
     ("<think>Y Y Y</think>\nN Y N", ["sport"]), ("[]", []), ('["SPORT", "world"]', ["world", "sport"]),
     ('Labels: ["sport"]', ["sport"]), ("`Y\nN\nN`", ["world"]), ("<answer>Y N Y</answer>", ["world", "science"]),
     (r"So: \boxed{N Y N}.", ["sport"]), ("N Y N<|im_end|>", ["sport"]), ("['sport',]", ["sport"])],
)  # fmt: skip
def test_rows_and_lists_of_labels(text: str, labels: list[str]) -> None:
    assert json.loads(Multi(multi=TOPICS).read(text)) == labels


@pytest.mark.parametrize(
    "text",
    ["", "Y", "Y N", "Y N Y N", "YNY", "Y N ?", "not Y N Y", "sport", '["art"]', '["sport", null]', "[[]]", "{}",
     '{"sport": true}', '{"not": ["sport"]}', "null", "none", '["sport"', "world, sport",
     "<answer>Y N Y</answer><answer>N N N</answer>"],
)  # fmt: skip
def test_what_is_no_row_of_the_task_is_rejected(text: str) -> None:
    with pytest.raises(InvalidAnswer):
        Multi(multi=TOPICS).read(text)


@pytest.mark.parametrize(
    ("text", "reason"),
    [('{"name": 1}', r"\$\.name: 1 is not of type 'string'"), ("{}", "'name' is a required property"),
     ('{"name": "x", "y": 1}', "'y' was unexpected"), ('{"name": "x", "age": -1}', "less than the minimum"),
     ("[]", "not of type 'object'"), ("x", "holds no JSON"), ('{"name": "\\ud800"}', "cannot be written")],
)  # fmt: skip
def test_free_answers_are_held_against_the_schema(text: str, reason: str) -> None:
    with pytest.raises(InvalidAnswer, match=reason):
        Free(json_schema=PERSON).read(text)


def test_a_schema_with_references_into_itself() -> None:
    tree = {"$ref": "#/$defs/node", "$defs": {"node": {"type": "array", "items": {"$ref": "#/$defs/node"}}}}
    assert Free(json_schema=tree).read("[[], [[]]]") == "[[],[[]]]"
    with pytest.raises(InvalidAnswer):
        Free(json_schema=tree).read("[" * 700 + "]" * 700)


def test_numbers_beyond_what_a_schema_can_weigh_are_rejected() -> None:
    with pytest.raises(InvalidAnswer):
        Free(json_schema={"multipleOf": 0.5}).read("9" * 400)


def test_answers_travel_between_processes_after_use() -> None:
    for answer, text in (
        (Choice(choice=TOPICS), "A"),
        (Scale(scale=(0, 5)), "3"),
        (Free(json_schema=PERSON), '{"name":"x"}'),
    ):
        answer.read(text)
        again = pickle.loads(pickle.dumps(answer))
        assert again == answer
        assert again.read(text) == answer.read(text)


def test_labels_of_one_letter_stand_for_themselves() -> None:
    grades = Choice(choice={"F": "fails", "B": "", "A": "excellent"})
    assert [grades.read(text) for text in ("A", "B", "f")] == ["A", "B", "F"]
    assert grades.constraint().text_choices == ("F", "B", "A")
    assert grades.describe() == "Options:\nF: fails\nB\nA: excellent\n\nAnswer with one of F, B, A and nothing else."


def test_options_are_described_with_their_codes() -> None:
    assert Choice(choice=TOPICS).describe() == (
        "Options:\nA: world (politics and war)\nB: sport\nC: science (research)\n\n"
        "Answer with the letter of one option and nothing else."
    )
    assert Scale(scale=(9, 11)).describe().startswith("Numbers by letter:\nA: 9\nB: 10\nC: 11\n")
    assert Multi(multi=["a", "b"]).describe().startswith("Labels, in this order:\n1: a\n2: b\n")


def test_codes_are_not_labels_to_people() -> None:
    with pytest.raises(InvalidAnswer):
        Choice(choice=TOPICS).canonical("A")
    with pytest.raises(InvalidAnswer):
        Choice(choice=["none", "some"]).canonical(None)


def softmax(slot: dict[str, float], codes: list[str]) -> Any:
    masses = np.array([math.exp(min(slot.get(code, -math.inf), 0.0)) for code in codes])
    return masses / masses.sum(), masses.sum()


@given(st.dictionaries(st.sampled_from(LETTERS[:6]), LOGPROBS), st.integers(0, 5))
def test_soft_choice_against_numpy(slot: dict[str, float], chosen: int) -> None:
    labels = [f"label {i}" for i in range(6)]
    soft = Choice(choice=labels).soft(labels[chosen], (slot,), None)
    with np.errstate(invalid="ignore"):
        shares, total = softmax(slot, list(LETTERS[:6]))
    if total == 0:
        assert soft == (None, None, None, None)
        return
    assert soft.probabilities is not None
    assert soft.coverage is not None
    assert list(soft.probabilities) == labels
    np.testing.assert_allclose(list(soft.probabilities.values()), shares, rtol=1e-12)
    assert math.isclose(sum(soft.probabilities.values()), 1.0, rel_tol=1e-12)
    assert soft.probability == soft.probabilities[labels[chosen]]
    assert math.isclose(soft.coverage, min(1.0, total))
    positive = shares[shares > 0]
    np.testing.assert_allclose(soft.entropy, -(positive * np.log(positive)).sum(), atol=1e-12)


@given(st.lists(st.fixed_dictionaries({}, optional={"Y": LOGPROBS, "N": LOGPROBS}), min_size=4, max_size=4))
def test_soft_multi_against_all_answers(slots: list[dict[str, float]]) -> None:
    labels = ["a", "b", "c", "d"]
    answer = Multi(multi=labels)
    with np.errstate(invalid="ignore"):
        found = [softmax(slot, ["Y", "N"]) for slot in slots]
    if any(total == 0 for _, total in found):
        assert answer.soft("[]", slots, None) == (None, None, None, None)
        return
    joint, marginal = {}, dict.fromkeys(labels, 0.0)
    for row in itertools.product((0, 1), repeat=4):
        fitting = [label for label, no in zip(labels, row, strict=True) if not no]
        joint[json.dumps(fitting)] = math.prod(shares[no] for (shares, _), no in zip(found, row, strict=True))
        for label in fitting:
            marginal[label] += joint[json.dumps(fitting)]
    softs = {row: answer.soft(row, slots, None) for row in joint}
    np.testing.assert_allclose([soft.probability for soft in softs.values()], list(joint.values()), atol=1e-12)
    assert math.isclose(sum(soft.probability or 0.0 for soft in softs.values()), 1.0)
    one = softs["[]"]
    assert one.probabilities == pytest.approx(marginal)
    assert one.entropy == pytest.approx(-sum(p * math.log(p) for p in joint.values() if p > 0), abs=1e-9)
    assert one.coverage == pytest.approx(math.prod(min(1.0, total) for _, total in found))


@pytest.mark.parametrize("logprob", [math.nan, 1e9, math.inf, -math.inf, 5e-7])
def test_broken_log_probabilities_break_nothing(logprob: float) -> None:
    soft = Choice(choice=TOPICS).soft("sport", ({"A": -1.0, "B": logprob},), None)
    assert soft.probabilities is not None
    assert soft.probability is not None
    assert sum(soft.probabilities.values()) == pytest.approx(1.0)
    assert 0.0 <= soft.probability <= 1.0
    free = Free(json_schema={}).soft("1", None, logprob)
    assert free.probability is not None
    assert 0.0 <= free.probability <= 1.0


def test_what_is_unknown_is_none() -> None:
    assert Scale(scale=(0, 5)).soft("4", None, None) == (None, None, None, None)
    assert Multi(multi=TOPICS).soft("[]", None, None) == (None, None, None, None)
    assert Free(json_schema={}).soft("{}", None, None) == (None, None, None, None)
    assert Free(json_schema={}).soft("{}", None, -1.5).probability == pytest.approx(math.exp(-1.5))


def test_a_certain_answer_has_no_entropy() -> None:
    soft = Choice(choice=TOPICS).soft("sport", ({"B": 0.0},), None)
    assert soft == (1.0, {"world": 0.0, "sport": 1.0, "science": 0.0}, 1.0, 0.0)
    assert math.copysign(1.0, soft.entropy or 0.0) == 1.0


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"ranking": ["a"]}, "one of choice: {...}, scale: [0, 5], multi: {...}, pair: teaches more, schema: {...}"),
        ({"choice": ["a", "b"], "scale": [0, 5]}, "one of choice"),
        ("choice", "one of choice"),
        ({"choice": ["a"]}, "give 2 to 52 labels, not 1"),
        ({"choice": [f"label {i}" for i in range(53)]}, "give 2 to 52 labels, not 53"),
        ({"choice": ["Art", "art"]}, "another label is 'Art' but for its case"),
        ({"choice": ["a  b", "a b"]}, "but for its case or blanks"),
        ({"choice": ["a", " a"]}, "name each label once"),
        ({"choice": ["a", " "]}, "a label is empty"),
        ({"choice": [True, False]}, "a label is true: put it in quotes"),
        ({"choice": [{"a": "x"}, "b"]}, "a label must be text"),
        ({"choice": {"a": {"b": 1}, "c": ""}}, "the definition of a must be text"),
        ({"choice": ["x-ray", "A"]}, "'A' would be taken for the letter of another option"),
        ({"choice": ["ab", "a"]}, "'a' would be taken for the letter of another option"),
        ({"multi": ["a"]}, "give 2 to 52 labels, not 1"),
        ({"scale": [5, 0]}, "give the lowest number first and a higher one after it, not 5 and 0"),
        ({"scale": [0, 100]}, "0 to 100 are 101 numbers; at most 52"),
        ({"scale": [0, 0.5]}, "valid integer"),
        ({"schema": {"type": "strin"}}, "this is no JSON schema: $.type: 'strin' is not valid"),
        ({"schema": {"pattern": "("}}, "this is no JSON schema: $.pattern"),
        ({"schema": {"items": {"$ref": "#/$defs/x"}}}, "$ref '#/$defs/x' leads nowhere"),
        ({"schema": {"$ref": "https://example.com/s"}}, "no other is looked up"),
        ({"choice": ["a", "b"], "shuffle": True}, "Extra inputs are not permitted"),
    ],
)
def test_tasks_that_cannot_be_asked_say_why(value: Any, message: str) -> None:
    assert message in mistakes(value)


def test_numbers_are_labels_too() -> None:
    assert Choice.model_validate({"choice": {2019: None, 2020: "the plague"}}).choice == {
        "2019": "",
        "2020": "the plague",
    }
