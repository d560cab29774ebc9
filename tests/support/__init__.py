"""Real parts for tests: models on disk, a Hub cache, a Hub that answers on this machine."""
