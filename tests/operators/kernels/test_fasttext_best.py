import numpy as np
import pytest

from gristmill.operators.fasttext.huffman import huffman_tree, path_to_leaf
from gristmill.operators.kernels.fasttext_best import best_leaves, best_of_sigmoid, best_of_softmax

EPSILON = 1e-5


def drawn(labels, n=200, dim=7, scale=1.0, seed=0):
    """Hidden vectors [n, dim] and an output matrix [labels, dim]."""
    draw = np.random.default_rng(seed)
    return tuple(draw.normal(0, scale, (rows, dim)).astype(np.float32) for rows in (n, labels))


def best(kernel, k, hidden, *arguments):
    labels, probabilities = np.empty((len(hidden), k), np.int64), np.empty((len(hidden), k))
    kernel(hidden, *arguments, labels, probabilities)
    return labels, probabilities


def leaves(hidden, output, counts):
    """The probability of every label by the definition: along the path from the root."""
    right = 1 / (1 + np.exp(-(hidden.astype(float) @ output.T.astype(float))))
    columns = []
    for label in range(len(counts)):
        nodes, rights = path_to_leaf(counts, label)
        columns.append(np.prod(np.where(rights, right[:, nodes], 1 - right[:, nodes]) + EPSILON, axis=1))
    return np.stack(columns, axis=1)


def ranked(probabilities, k):
    """The k labels of the highest probability, those of equal probability by number."""
    return np.argsort(-probabilities, axis=1, kind="stable")[:, :k]


@pytest.mark.parametrize("labels", [1, 2, 3, 50, 176])
@pytest.mark.parametrize("scale", [0.3, 1.0, 2.5])
def test_the_best_leaves_are_those_of_all_leaves(labels, scale):
    counts = sorted(np.random.default_rng(1).integers(1, 1000, labels).tolist(), reverse=True)
    hidden, output = drawn(labels, scale=scale)
    every = leaves(hidden, output, counts)
    k = min(5, labels)
    found, probabilities = best(best_leaves, k, hidden, output, huffman_tree(counts))
    expected = np.take_along_axis(every, ranked(every, k), axis=1)
    left_out = found < 0
    assert (expected[left_out] < 1.01 * EPSILON).all()
    np.testing.assert_allclose(probabilities[~left_out], expected[~left_out], rtol=1e-4)
    clear = np.abs(np.diff(expected, axis=1, append=0)).min(axis=1) > 1e-6
    assert clear.any()
    assert ((found == ranked(every, k)) | left_out)[clear].all()


def test_labels_of_equal_probability_come_in_the_order_of_the_model():
    hidden, zeros = np.ones((1, 4), np.float32), np.zeros((8, 4), np.float32)
    for kernel, arguments in [
        (best_leaves, (zeros, huffman_tree([5] * 8))),
        (best_of_softmax, (np.ascontiguousarray(zeros.T),)),
        (best_of_sigmoid, (np.ascontiguousarray(zeros.T),)),
    ]:
        labels, probabilities = best(kernel, 3, hidden, *arguments)
        assert labels.tolist() == [[0, 1, 2]]
        assert len({*probabilities[0]}) == 1
    saturated = np.full((4, 6), 9, np.float32)  # the sigmoid's table ends at 8: all are 1
    saturated[:, 0] = -9
    assert best(best_of_sigmoid, 2, hidden, saturated)[0].tolist() == [[1, 2]]


@pytest.mark.parametrize("kernel", [best_of_softmax, best_of_sigmoid])
def test_the_best_labels_are_those_of_all_labels(kernel):
    hidden, output = drawn(30)
    scores = hidden @ output.T
    every = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    if kernel is best_of_sigmoid:
        every = 1 / (1 + np.exp(-scores))
    labels, probabilities = best(kernel, 4, hidden, np.ascontiguousarray(output.T))
    expected = np.take_along_axis(every, ranked(every, 4), axis=1)
    np.testing.assert_allclose(probabilities, expected, rtol=0, atol=0.01 if kernel is best_of_sigmoid else 2e-5)
    assert (np.diff(probabilities, axis=1) <= 0).all()
    np.testing.assert_allclose(np.take_along_axis(every, labels, axis=1), expected, atol=0.01)


def test_more_are_asked_for_than_there_are():
    hidden, output = drawn(2, n=3)
    weights = np.ascontiguousarray(output.T)
    for kernel, arguments in [
        (best_leaves, (output, huffman_tree([2, 1]))),
        (best_of_softmax, (weights,)),
        (best_of_sigmoid, (weights,)),
    ]:
        labels, probabilities = best(kernel, 4, hidden, *arguments)
        assert (labels[:, 2:] == -1).all()
        assert (probabilities[:, 2:] == 0).all()
        assert (np.sort(labels[:, :2]) == [0, 1]).all()


def test_scores_that_are_no_numbers_give_none():
    output = np.full((6, 3), np.nan, np.float32)
    hidden = np.ones((2, 3), np.float32)
    weights = np.ascontiguousarray(output.T)
    for kernel, arguments in [
        (best_leaves, (output, huffman_tree([1] * 6))),
        (best_of_softmax, (weights,)),
        (best_of_sigmoid, (weights,)),
    ]:
        assert np.isnan(best(kernel, 2, hidden, *arguments)[1]).all()
