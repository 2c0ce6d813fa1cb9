"""Keras's model and weight files, read and written without Keras: .keras, .h5 and .weights.h5."""

from .archive import kind_of_file
from .files import read_model, read_weights, write_model, write_weights

__all__ = ["kind_of_file", "read_model", "read_weights", "write_model", "write_weights"]
