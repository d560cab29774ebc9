"""Standing in for libraries that load models or ask for vectors, in code that nobody edits."""
