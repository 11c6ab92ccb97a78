"""MNIST-1D, CIFAR-100, a shipped slice of it, and the NASCAR 2002 rankings, as NumPy arrays.

A data set whose package is not installed raises ImportError and names the extra that brings it.
"""

from .cifar import cifar100, cifar100_slice, class_names, split_slice
from .mnist import mnist1d
from .nascar import nascar2002
from .splits import DataError, Dataset, Split

__all__ = [
    "DATASETS",
    "DataError",
    "Dataset",
    "Split",
    "cifar100",
    "cifar100_slice",
    "class_names",
    "mnist1d",
    "nascar2002",
    "split_slice",
]

#: The data sets that students are trained on, by name.
DATASETS = {"mnist1d": mnist1d, "cifar100": cifar100, "cifar100-slice": split_slice}
