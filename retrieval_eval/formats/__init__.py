"""What runs and judgments can be read from: one file for each form, one shape for all of them."""

from retrieval_eval.formats.columns import Columns
from retrieval_eval.formats.files import read_file

__all__ = ["Columns", "read_file"]
