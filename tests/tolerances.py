"""Tolerances that follow from float32 arithmetic, so that no processor's order of summation decides a test.

Sums of ``n`` products taken in two orders differ by about ``sqrt(n)`` unit roundoffs of the sum of their sizes (Higham
and Mary 2019, "A New Approach to Probabilistic Rounding Error Analysis": the factor 8 is passed once in e^32 sums). A
number that went through several such sums, one after the other, has the errors of all of them; they are independent, so
their squares add up.
"""

import jax
import numpy as np

UNIT_ROUNDOFF = 2.0**-24
# The quintic of Muon multiplies small singular values by 3.4445 in each of five steps, and rounding errors with them.
NEWTON_SCHULZ_GAIN = 3.4445**5
ADAM_EPSILON = 1e-8


def sums(terms: int, in_a_row: int = 1) -> float:
    """Relative difference of numbers that are ``in_a_row`` float32 sums of ``terms`` products each."""
    return 8 * (in_a_row * terms) ** 0.5 * UNIT_ROUNDOFF


def newton_schulz(inner: int, moved: float = 0.0) -> float:
    """Relative difference (Frobenius norm) of two float32 orthogonalisations.

    Args:
      inner: longest sum of a product. moved: relative difference of the matrices that went in.
    """
    return NEWTON_SCHULZ_GAIN * (sums(inner, in_a_row=3) + 2 * moved)


def last_bits_moved(tree, seed: int = 0):
    """Moves every element of a tree's float32 arrays by one unit in the last place, as rounding may.

    A result may differ between machines by as much as it moves with them.
    """
    draw = np.random.default_rng(seed)

    def move(leaf):
        leaf = np.asarray(leaf, np.float32)
        return np.nextafter(leaf, np.where(draw.random(leaf.shape) < 0.5, np.inf, -np.inf).astype(np.float32))

    return jax.tree.map(move, tree)


def distance(got, want) -> float:
    """Frobenius norm of the difference, relative to that of ``want``."""
    got, want = np.asarray(got, np.float64), np.asarray(want, np.float64)
    return float(np.linalg.norm(got - want) / max(np.linalg.norm(want), 1e-30))


def assert_gradients_agree(got, want, tolerance: float) -> None:
    """Compares every element, relative to the largest of its leaf: small elements are differences of large terms."""
    for (path, have), expected in zip(jax.tree_util.tree_leaves_with_path(got), jax.tree.leaves(want), strict=True):
        expected = np.asarray(expected, np.float64)
        most = tolerance * np.abs(expected).max()
        np.testing.assert_allclose(have, expected, rtol=0, atol=most, err_msg=jax.tree_util.keystr(path))


def assert_adam_updates_agree(got, want, gradient, tolerance: float) -> None:
    """Compares first updates of Adam where they are well conditioned: near a zero gradient they may be any number.

    Args:
      got, want: updates. gradient: that led to ``want``.
      tolerance: of the gradients, relative to the largest.

    A gradient ``g`` known to within ``d`` gives ``g / (|g| + e)`` to within ``e * d / (|g| - d)**2``: less than 2e-4
    where ``|g|`` is above ten times ``d`` and a thousand times ``e``.
    """
    size = np.abs(np.asarray(gradient, np.float64))
    settled = size > max(10 * tolerance * size.max(), 1e3 * ADAM_EPSILON)
    assert settled.any()
    got, want = np.asarray(got, np.float64), np.asarray(want, np.float64)
    np.testing.assert_allclose(got[settled], want[settled], rtol=0, atol=2e-4 * np.abs(want).max())
