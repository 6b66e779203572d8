"""Tokens are counted in another process, which cannot hold up or bring down the front."""

import sys
import textwrap
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from model_store.store import ModelStore
from model_store.tiny import write_tiny_llama
from model_store.tokenizer import TextTokenizer
from producer.token_counter import TokenCounter
from tests.support.waiting import eventually


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_llama(ModelStore(tmp_path_factory.mktemp("models"))).path


@pytest.fixture
def counter() -> Iterator[TokenCounter]:
    counter = TokenCounter()
    yield counter
    counter.close()


def scripted(script: str) -> tuple[str, ...]:
    return (sys.executable, "-c", textwrap.dedent(script))


def test_the_count_is_that_of_the_models_own_tokenizer(counter: TokenCounter, folder: Path) -> None:
    tokenizer = TextTokenizer.load(folder)
    messages = {"messages": [{"role": "user", "content": "Where is Paris?"}]}

    assert counter.count(folder, messages).counts == (len(tokenizer.prompt_tokens(messages)),)
    assert counter.count(folder, {"prompt": "a b"}).counts == (len(tokenizer.encode("a b")),)
    assert counter.count(folder, {"texts": ["a", "b c"]}).counts == (
        len(tokenizer.encode("a")),
        len(tokenizer.encode("b c")),
    )


def test_text_that_is_not_ascii_crosses_unchanged(counter: TokenCounter, folder: Path) -> None:
    text = '\u00e9\u4e2d\U0001f600\n"quoted"\u2028'

    expected = len(TextTokenizer.load(folder).encode(text))

    assert counter.count(folder, {"prompt": text}).counts == (expected,)


def test_a_folder_without_a_tokenizer_settles_nothing(
    counter: TokenCounter, tmp_path: Path, folder: Path
) -> None:
    assert counter.count(tmp_path, {"prompt": "x"}).counts is None
    assert counter.count(folder, {"prompt": "x"}).counts is not None


def test_a_helper_that_takes_too_long_is_killed_and_the_next_question_gets_a_new_one(
    tmp_path: Path,
) -> None:
    marker = tmp_path / "first"
    command = scripted(f"""
        import pathlib, sys, time
        marker = pathlib.Path({str(marker)!r})
        first = not marker.exists()
        marker.touch()
        for line in sys.stdin:
            print('{{"loaded": true}}', flush=True)
            if first:
                time.sleep(600)
            print('{{"counts": [7]}}', flush=True)
    """)
    counter = TokenCounter(limit_s=0.2, command=command)

    assert counter.count(tmp_path, {"prompt": "x"}).timed_out
    assert counter.count(tmp_path, {"prompt": "x"}).counts == (7,)
    counter.close()


def test_a_helper_that_does_not_start_in_time_settles_nothing(tmp_path: Path) -> None:
    counter = TokenCounter(start_s=0.2, command=scripted("import time; time.sleep(600)"))

    answer = counter.count(tmp_path, {"prompt": "x"})

    assert answer.counts is None
    assert not answer.timed_out
    counter.close()


def test_questions_do_not_wait_without_end_for_their_turn(tmp_path: Path) -> None:
    script = "import sys, time; sys.stdin.readline(); print('{}', flush=True); time.sleep(600)"
    counter = TokenCounter(limit_s=5, start_s=1.5, command=scripted(script))
    first = threading.Thread(target=counter.count, args=(tmp_path, {"prompt": "x"}))
    first.start()
    eventually(lambda: counter.busy)

    assert counter.count(tmp_path, {"prompt": "y"}).counts is None
    assert first.is_alive()
    first.join()
    counter.close()


@pytest.mark.parametrize(
    "script", ["", "import sys; sys.stdin.readline(); print('no json', flush=True)"]
)
def test_a_helper_that_dies_or_babbles_settles_nothing(tmp_path: Path, script: str) -> None:
    counter = TokenCounter(command=scripted(script))

    for _ in range(2):
        answer = counter.count(tmp_path, {"prompt": "x"})
        assert answer.counts is None
        assert not answer.timed_out
    counter.close()
