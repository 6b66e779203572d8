"""Text to tokens and back, and chat templates."""

import json
from pathlib import Path

import pytest

from contract.errors import InvalidModelError, InvalidRequestError
from model_store.chat_template import ChatTemplate
from model_store.manifest import UNBOUNDED_TOKEN_BYTES, ModelVersion
from model_store.store import ModelStore
from model_store.tiny import write_tiny_bert, write_tiny_llama
from model_store.token_bytes import max_token_bytes
from model_store.tokenizer import TOKENIZER_FILE, TextTokenizer

TEXTS = ["", "plain", "  spaces  ", "café 東京 🙂", "tab\tand\r\nnewline", "<|im_start|>x"]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> ModelVersion:
    return write_tiny_llama(ModelStore(tmp_path_factory.mktemp("models")))


@pytest.fixture(scope="module")
def tokenizer(tiny: ModelVersion) -> TextTokenizer:
    return TextTokenizer.load(tiny.path)


@pytest.mark.parametrize("text", TEXTS[:-1])
def test_text_survives_the_tokenizer(tokenizer: TextTokenizer, text: str) -> None:
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_special_tokens_are_left_out_of_text(tokenizer: TextTokenizer) -> None:
    assert tokenizer.decode(tokenizer.encode("a<|im_end|>b")) == "ab"
    assert tokenizer.eos_token_ids == set(tokenizer.encode("<|im_end|>"))


def test_a_chat_is_rendered_with_the_models_template(tokenizer: TextTokenizer) -> None:
    messages = [{"role": "system", "content": "S"}, {"role": "user", "content": "U"}]
    assert tokenizer.render_chat(messages) == (
        "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nU<|im_end|>\n<|im_start|>assistant\n"
    )


def test_a_stored_input_becomes_tokens(tokenizer: TextTokenizer) -> None:
    assert tokenizer.prompt_tokens({"prompt": "a river"}) == tokenizer.encode("a river")
    messages = [{"role": "user", "content": "a river"}]
    chat = tokenizer.prompt_tokens({"messages": messages})
    assert chat == tokenizer.encode(tokenizer.render_chat(messages))


def test_no_text_has_more_bytes_than_its_tokens_allow(
    tiny: ModelVersion, tokenizer: TextTokenizer
) -> None:
    most = tiny.manifest.max_token_bytes
    for text in [*TEXTS, "machine " * 50, " " * 300, "<|endoftext|>" * 9]:
        assert len(text.encode()) <= most * len(tokenizer.encode(text))
    assert len("<|endoftext|>") == most


def test_a_tokenizer_that_drops_text_has_no_limit_of_bytes(tmp_path: Path) -> None:
    version = write_tiny_bert(ModelStore(tmp_path))
    assert len(TextTokenizer.load(version.path).encode(" " * 1000)) == 2
    assert version.manifest.max_token_bytes == UNBOUNDED_TOKEN_BYTES


def test_saved_limits_of_a_tokenizer_are_not_applied(tmp_path: Path, tiny: ModelVersion) -> None:
    record = json.loads((tiny.path / TOKENIZER_FILE).read_text())
    record["truncation"] = {
        "direction": "Right",
        "max_length": 4,
        "strategy": "LongestFirst",
        "stride": 0,
    }
    (tmp_path / TOKENIZER_FILE).write_text(json.dumps(record))
    assert max_token_bytes(tmp_path) == tiny.manifest.max_token_bytes
    assert len(TextTokenizer.load(tmp_path).encode("many words that go on and on")) > 4


def test_a_model_without_a_template_refuses_messages(tmp_path: Path, tiny: ModelVersion) -> None:
    (tmp_path / TOKENIZER_FILE).write_bytes((tiny.path / TOKENIZER_FILE).read_bytes())
    tokenizer = TextTokenizer.load(tmp_path)
    assert not tokenizer.has_chat_template
    assert tokenizer.eos_token_ids == frozenset()
    with pytest.raises(InvalidRequestError, match="no chat template"):
        tokenizer.prompt_tokens({"messages": []})


@pytest.mark.parametrize("content", [None, "{}", "not json"])
def test_a_broken_tokenizer_is_named(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / TOKENIZER_FILE).write_text(content)
    with pytest.raises(InvalidModelError, match=r"tokenizer\.json is not a tokenizer"):
        TextTokenizer.load(tmp_path)


def test_a_template_may_refuse_messages() -> None:
    template = ChatTemplate("{{ raise_exception('only users may speak') }}", {})
    with pytest.raises(InvalidRequestError, match="only users may speak"):
        template.render([])


def test_a_template_that_does_not_parse_is_refused() -> None:
    with pytest.raises(InvalidModelError, match="chat template"):
        ChatTemplate("{% for %}", {})


@pytest.mark.parametrize(
    "source",
    [
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ messages.append(1) }}",
        "{{ messages[0].__init__.__globals__ }}",
    ],
)
def test_a_template_cannot_leave_its_sandbox(source: str) -> None:
    template = ChatTemplate(source, {})
    with pytest.raises(InvalidRequestError, match="refuses"):
        template.render([{"role": "user", "content": "x"}])


def test_a_template_sees_special_tokens_and_plain_json() -> None:
    template = ChatTemplate("{{ bos_token }}{{ messages[0] | tojson }}", {"bos_token": "<s>"})
    assert template.render([{"content": "é<"}]) == '<s>{"content": "é<"}'
