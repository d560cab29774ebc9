"""What a test needs, free of hooks: usable with any runner."""
