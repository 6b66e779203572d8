"""The golden answers that a model version was recorded with."""

from model_store.manifest import GoldenPrompt, ModelVersion


def answers(version: ModelVersion) -> list[str]:
    """The texts of its golden prompts, in their order; none for an encoder."""
    return [each.text for each in version.manifest.golden if isinstance(each, GoldenPrompt)]
