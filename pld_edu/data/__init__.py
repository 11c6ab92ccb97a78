"""MNIST-1D, CIFAR-100, a shipped slice of it, and the NASCAR 2002 rankings, as NumPy arrays.

A data set whose package is not installed raises ImportError and names the extra that brings it.
"""

from .cifar import cifar100, cifar100_slice, class_names
from .mnist import mnist1d
from .nascar import nascar2002
from .splits import Dataset, Split

__all__ = [
    "DATASETS",
    "Dataset",
    "Split",
    "cifar100",
    "cifar100_slice",
    "class_names",
    "mnist1d",
    "nascar2002",
]

#: The data sets that students are trained on, by name.
DATASETS = {"mnist1d": mnist1d, "cifar100": cifar100}
