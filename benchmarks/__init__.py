"""Numbers, by `python -m benchmarks [NAME…]` or `python3 run.py bench [-- NAME…]`."""
