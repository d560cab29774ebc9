"""`python -m pytest_embedcache`."""

from pytest_embedcache.cli import main

raise SystemExit(main())
