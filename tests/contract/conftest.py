"""Assertions of the contracts, which are no test modules themselves, say what they compared."""

import pytest

pytest.register_assert_rewrite("tests.contract.adapter", "tests.contract.wrong_input")
