"""Test suites that a plug-in inherits; they need pytest."""

import pytest

# Assertions in a package are explained only where pytest is told so before the import.
pytest.register_assert_rewrite("retrieval_eval.testing.index_conformance")

from retrieval_eval.testing.index_conformance import IndexConformance  # noqa: E402

__all__ = ["IndexConformance"]
