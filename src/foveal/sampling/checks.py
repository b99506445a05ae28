"""Checks that the settings of several systems share. NumPy only."""

from __future__ import annotations


def check_folds(num_folds: int) -> None:
    """Ask for no folds of the training set, or two and more.

    Raises:
        ValueError: there is one, or fewer than none.
    """
    if num_folds < 0 or num_folds == 1:
        raise ValueError(f"num_folds must be 0, or 2 and more, got {num_folds}")


def check_pass(pass_megapixels: float) -> None:
    """Ask for a size from which on long clips are seen by their keyframes.

    Args:
        pass_megapixels: see :func:`foveal.sampling.choose.key_times`; infinite for never.

    Raises:
        ValueError: it is negative or no number.
    """
    if not pass_megapixels >= 0:
        raise ValueError(f"pass_megapixels must not be negative, got {pass_megapixels}")
