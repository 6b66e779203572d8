"""Text to token ids and back, with the tokenizer and the chat template of one version."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from contract.errors import InvalidModelError, InvalidRequestError
from model_store.chat_template import ChatTemplate
from model_store.json_file import read_object

TOKENIZER_FILE = "tokenizer.json"
TOKENIZER_CONFIG_FILE = "tokenizer_config.json"
CHAT_TEMPLATE_FILE = "chat_template.jinja"
GENAI_CONFIG_FILE = "genai_config.json"


class TextTokenizer:
    """The tokenizer of a version. Safe to share between threads."""

    def __init__(
        self, tokenizer: Tokenizer, template: ChatTemplate | None, eos_token_ids: frozenset[int]
    ) -> None:
        # A saved tokenizer may cut or pad; limits are checked where they can be reported.
        tokenizer.no_truncation()
        tokenizer.no_padding()
        self._tokenizer = tokenizer
        self._template = template
        self.eos_token_ids = eos_token_ids
        """A generation ends at any of these; empty for an embedding model."""

    @classmethod
    def load(cls, folder: Path) -> "TextTokenizer":
        """Read ``tokenizer.json`` and what lies beside it. Raises InvalidModelError."""
        path = folder / TOKENIZER_FILE
        with _translated(f"{path} is not a tokenizer"):
            tokenizer = Tokenizer.from_file(str(path))
        config = _read_json(folder / TOKENIZER_CONFIG_FILE)
        source = _template_source(folder, config)
        template = ChatTemplate(source, _special_tokens(config)) if source else None
        return cls(tokenizer, template, _eos_token_ids(folder / GENAI_CONFIG_FILE))

    @property
    def has_chat_template(self) -> bool:
        """Whether the model can be spoken to in messages."""
        return self._template is not None

    def encode(self, text: str, *, special_tokens: bool = True) -> list[int]:
        """Token ids of a text; ``special_tokens`` adds what the model wants around a text."""
        with _translated("the tokenizer contradicts itself"):
            ids: list[int] = self._tokenizer.encode(text, add_special_tokens=special_tokens).ids
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        """The text of token ids, without special tokens; U+FFFD stands for half a character."""
        with _translated("the tokenizer contradicts itself"):
            text: str = self._tokenizer.decode(list(ids), skip_special_tokens=True)
        return text

    def render_chat(self, messages: Sequence[Mapping[str, Any]]) -> str:
        """The prompt text of chat messages, ready for the assistant's answer.

        Raises:
            InvalidRequestError: the model has no chat template, or its template refuses these.
        """
        if self._template is None:
            raise InvalidRequestError("this model has no chat template; send a string")
        return self._template.render(messages)

    def known(self, ids: Sequence[int]) -> list[int]:
        """``ids``, each of which is a token. Raises InvalidRequestError."""
        size = self._tokenizer.get_vocab_size()
        unknown = next((each for each in ids if not 0 <= each < size), None)
        if unknown is not None:
            raise InvalidRequestError(f"{unknown} is none of the {size} tokens of this model")
        return list(ids)

    def prompt_tokens(self, stored_input: Mapping[str, Any]) -> list[int]:
        """Token ids of a stored generation input: of its messages, its prompt, or its tokens.

        Raises:
            InvalidRequestError: the template refuses the messages, or a token is not the model's.
        """
        if "tokens" in stored_input:
            return self.known(stored_input["tokens"])
        if "messages" in stored_input:
            # A template writes its own special tokens.
            return self.encode(self.render_chat(stored_input["messages"]), special_tokens=False)
        return self.encode(stored_input["prompt"])


@contextmanager
def _translated(what: str) -> Iterator[None]:
    """The binding's errors as InvalidModelError.

    It raises bare Exception for most faults; for a tokenizer that contradicts itself it panics,
    which is no Exception.
    """
    try:
        yield
    except BaseException as error:
        if isinstance(error, Exception) or type(error).__name__ == "PanicException":
            raise InvalidModelError(f"{what}: {error}") from error
        raise


def _read_json(path: Path) -> dict[str, Any]:
    return read_object(path) if path.exists() else {}


def _template_source(folder: Path, config: Mapping[str, Any]) -> str:
    path = folder / CHAT_TEMPLATE_FILE
    if path.exists():
        try:
            return path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidModelError(f"{path} cannot be read: {error}") from error
    source = config.get("chat_template") or ""
    if isinstance(source, list):  # several named templates: the default one speaks
        objects = (each for each in source if isinstance(each, dict))
        source = next((e.get("template") for e in objects if e.get("name") == "default"), "")
    if not isinstance(source, str):
        raise InvalidModelError(f"{folder / TOKENIZER_CONFIG_FILE}: chat_template is not text")
    return source


def _special_tokens(config: Mapping[str, Any]) -> dict[str, str]:
    names = ("bos_token", "eos_token", "unk_token", "pad_token")
    found = {name: config[name] for name in names if config.get(name)}
    return {
        name: str(value.get("content", "") if isinstance(value, dict) else value)
        for name, value in found.items()
    }


def _eos_token_ids(path: Path) -> frozenset[int]:
    model = _read_json(path).get("model", {})
    found = model.get("eos_token_id", []) if isinstance(model, dict) else None
    ids = found if isinstance(found, list) else [found]
    if not all(type(each) is int for each in ids):
        raise InvalidModelError(f"{path}: eos_token_id is not a token, nor a list of tokens")
    return frozenset(ids)
