"""Writes ONNX graphs and their configuration from plain weights, without torch."""
