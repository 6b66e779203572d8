"""The sample prompt, asked over HTTP as any client would."""

import threading
import time

from contract.errors import MillraceError
from millrace.client import Client, Job
from millrace.up.screen import Screen

PROMPT = "What is the capital of France?"
_MAX_TOKENS = 64


class Demo(threading.Thread):
    """Asks one question and streams the answer to the screen with its timings.

    A thread, since the supervisor has to look after the children meanwhile. ``error`` tells
    afterwards why it failed.
    """

    def __init__(self, url: str, model: str, screen: Screen) -> None:
        super().__init__(name="demo", daemon=True)
        self._url = url
        self._model = model
        self._screen = screen
        self.error: MillraceError | None = None

    def run(self) -> None:
        """Ask and stream."""
        try:
            with Client(self._url) as client:
                self._ask(client)
        except MillraceError as error:
            self.error = error

    def _ask(self, client: Client) -> None:
        screen = self._screen
        screen.line(f"\n> {PROMPT}", event="prompt", prompt=PROMPT)
        began_s = time.monotonic()
        handle = client.submit(PROMPT, model=self._model, max_tokens=_MAX_TOKENS, cache=False)
        first_s = None
        for text in handle.stream():
            if first_s is None:
                first_s = time.monotonic() - began_s
            screen.piece(text)
        total_s = time.monotonic() - began_s
        if not screen.as_json:
            screen.piece("\n")
        self._tell(handle.job, first_s, total_s)

    def _tell(self, job: Job, first_s: float | None, total_s: float) -> None:
        queued_s = max(0.0, (job.started_at or 0.0) - (job.created_at or 0.0))
        tokens = int((job.usage or {}).get("completion_tokens", 0))
        speed = (tokens - 1) / (total_s - first_s) if first_s and total_s > first_s else 0.0
        self._screen.line(
            f"  {job.model} version {job.model_version}: queued {queued_s * 1000:.0f} ms,"
            f" first token after {(first_s or total_s) * 1000:.0f} ms,"
            f" {tokens} tokens at {speed:.0f} tokens/s\n",
            event="answer",
            answer=job.text,
            tokens=tokens,
            queued_s=round(queued_s, 4),
            first_token_s=first_s and round(first_s, 4),
            tokens_per_s=round(speed, 1),
        )
