"""The calls of OpenAI's API, each of them a durable job underneath."""
