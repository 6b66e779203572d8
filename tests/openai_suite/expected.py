"""Which of the official client's tests fail against this server, and why."""

import re

#: No server that checks what it is sent can pass these.
_CHECKED = (
    ("it asks for a response of no model to no input",
     r"test_responses.*_create_overload_\d"),
    ("its numbers are below what is allowed: max_tokens 0, best_of 0, limit 0",
     r"(chat/test_completions|test_completions).*test_method_create_with_all_params"
     r"|(test_files|test_batches|test_input_items).*test_method_list_with_all_params"),
    ("it asks for base64 and then wants numbers (the client decodes only behind its check)",
     r"test_embeddings.*test_(method|raw_response|streaming_response)_create\[(strict|aiohttp)\]"),
)  # fmt: skip
#: What is not there is refused by its name.
_MISSING = (
    ("tools, audio, conversations and the like", r"test_responses.*test_method_create_with_all"),
    ("embeddings of fewer dimensions", r"test_embeddings.*test_method_create_with_all_params"),
    ("a model cannot be deleted over HTTP", r"test_models.*(method|response)_delete\["),
    ("chats that were stored: list, read, change, delete",
     r"chat/test_completions.*(method|response)_(list|list_with_all_params|retrieve|update|delete)\["),
    ("compaction of a conversation", r"test_responses.*_compact(_with_all_params)?\["),
)  # fmt: skip
REASONS: tuple[tuple[str, str], ...] = (*_CHECKED, *_MISSING)


def reason(test: str) -> str | None:
    """Why ``test`` must fail; None for one that must not."""
    return next((why for why, pattern in REASONS if re.search(pattern, test)), None)
