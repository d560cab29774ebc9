"""For the conftest of a suite that is itself under test: light models, which a host may have."""

from __future__ import annotations

from pytest_embedcache.models.backends import remote
from pytest_embedcache.models.host import starting
from support.hosts import LIGHT_HOST
from support.light import LightBackend, install

install()
starting.COMMAND = LIGHT_HOST
# Else a class of a test's own is never a host's.
remote._SAME_THERE = (LightBackend,)
