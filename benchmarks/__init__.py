"""What the package costs and what it saves, in numbers: `python -m benchmarks`.

A neighbour, or the same work without the package, is measured in the same run, in turns, so that a
busy machine is busy for both.
"""
