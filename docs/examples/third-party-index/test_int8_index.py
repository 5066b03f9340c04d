"""The suite that every index passes, inherited with one fixture."""

import pytest
from int8_index import Int8Index

from retrieval_eval.testing import IndexConformance


class TestInt8Index(IndexConformance):
    tolerance, recall = 0.02, 0.9  # a byte a dimension

    @pytest.fixture
    def make_index(self):
        return Int8Index
