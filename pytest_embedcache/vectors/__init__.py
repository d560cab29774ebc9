"""One vector, computed once: keys, the codec, and the stores that share vectors."""
