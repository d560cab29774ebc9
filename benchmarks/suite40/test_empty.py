"""Forty tests that need nothing: what pytest itself costs."""

import pytest


@pytest.mark.parametrize("number", range(40))
def test_nothing(number):
    pass
