"""Texts for graphs of the tiny llama, as token ids."""

TEXTS = [[5], [7, 9, 300, 41, 5, 5, 6], list(range(3, 60)), list(range(400, 300, -3))]
