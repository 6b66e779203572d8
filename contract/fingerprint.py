"""Which jobs may share an answer, and the key under which they share it."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any


def is_deterministic(task: str, parameters: Mapping[str, Any]) -> bool:
    """Whether the same input must give the same output: greedy, seeded, or an embedding."""
    if task == "embed":
        return True
    return parameters.get("temperature") == 0 or parameters.get("seed") is not None


def fingerprint(digest: str, task: str, input: Any, parameters: Mapping[str, Any]) -> str:
    """SHA-256 (hex) over the model's digest and the canonical JSON of what it is asked.

    Two greedy requests that differ only in their seed have one fingerprint, since a seed
    means nothing without sampling.
    """
    asked = dict(parameters)
    if asked.get("temperature") == 0:
        for name in ("seed", "top_p", "top_k"):
            asked.pop(name, None)
    canonical = json.dumps(
        [digest, task, input, asked], sort_keys=True, separators=(",", ":"), ensure_ascii=False
    )
    return hashlib.sha256(canonical.encode("utf-8", "surrogatepass")).hexdigest()
