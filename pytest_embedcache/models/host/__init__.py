"""The model host: one process that holds the models for all workers of a machine.

A worker whose vectors are missing sends the texts over a local socket, and needs neither torch nor
onnxruntime. `address` says where a host is and for whom, `wire` how it is talked to, `process` is
the host's own life, `serving` its requests, `holding` its models; `link` and `starting` are the
worker's side, and `pytest_embedcache.models.backends.remote` what the worker has for a model.
"""
