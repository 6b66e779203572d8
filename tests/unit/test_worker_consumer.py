"""What Celery's consumer says again and again is said once."""

import logging

from workers.consumer import Terse


def record(words: str) -> logging.LogRecord:
    return logging.LogRecord("celery", logging.WARNING, __file__, 1, "%s", (words,), None)


def test_words_that_are_repeated_are_let_through_once_and_others_always() -> None:
    terse = Terse()
    said = ["lost", "lost", "lost", "back", "lost"]
    assert [terse.filter(record(words)) for words in said] == [True, False, False, True, True]
