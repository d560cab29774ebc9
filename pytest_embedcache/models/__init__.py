"""One model, many users: registry, handles, prepared artifacts, backends."""
