"""Texts with their vectors and words, found by meaning and by word."""
