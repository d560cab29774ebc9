"""Forty tests that do nothing: what pytest itself takes."""

import pytest


@pytest.mark.parametrize("number", range(40))
def test_nothing(number):
    pass
