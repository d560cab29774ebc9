"""The backend `onnx`: exports that are made once on a machine, and what runs them."""
