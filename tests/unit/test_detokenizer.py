"""Tokens to text: whole characters, the very text of decoding at once, and linear time."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import example, given
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

from model_store.tokenizer import TOKENIZER_FILE, TextTokenizer
from workers.engine.detokenizer import Detokenizer, WindowDetokenizer, open_detokenizer
from workers.engine.text_stream import TextStream

_FOLDER = TemporaryDirectory(prefix="millrace-detokenizer-")  # until the process ends
_SIZE = 400
_WORDS = ["the", "fox", "jumps", "over", "the", "lazy", "dog", "and", "naïve", "café", "🦊", ""]


@cache
def _byte_level() -> tuple[Path, TextTokenizer]:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=_SIZE,
        special_tokens=["<|end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([" ".join(_WORDS)] * 3, trainer)
    tokenizer.add_tokens([AddedToken("<né>", special=False)])
    folder = Path(_FOLDER.name)
    tokenizer.save(str(folder / TOKENIZER_FILE))
    return folder, TextTokenizer.load(folder)


@cache
def _sentence_pieces() -> Tokenizer:
    """In the manner of SentencePiece: a mark for a space, and bytes for what has no token."""
    vocabulary = {"<unk>": 0, **{f"<0x{byte:02X}>": byte + 1 for byte in range(256)}}
    letters = sorted({letter for word in _WORDS for letter in word if letter.isascii()})
    for piece in ("▁", *letters, *(f"▁{letter}" for letter in letters)):
        vocabulary.setdefault(piece, len(vocabulary))
    merges = [("▁", letter) for letter in letters]
    tokenizer = Tokenizer(models.BPE(vocabulary, merges, unk_token="<unk>", byte_fallback=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    return tokenizer


def _open_byte_level() -> Detokenizer:
    return open_detokenizer(*_byte_level())()


def _pieces(detokenizer: Detokenizer, tokens: Sequence[int]) -> list[str]:
    return [*(detokenizer.push(token) for token in tokens), detokenizer.flush()]


@given(st.lists(st.integers(min_value=0, max_value=_SIZE + 3)))
def test_the_pieces_of_any_byte_level_tokens_are_the_whole_decoded_at_once(
    tokens: list[int],
) -> None:
    _, tokenizer = _byte_level()
    assert "".join(_pieces(_open_byte_level(), tokens)) == tokenizer.decode(tokens)


@given(st.text(max_size=40))
@example("🏴󠁧󠁢󠁳󠁣󠁴󠁿 👩‍👩‍👧 é")
def test_no_piece_ends_within_a_character(text: str) -> None:
    _, tokenizer = _byte_level()
    pieces = _pieces(_open_byte_level(), tokenizer.encode(text))
    assert "".join(pieces) == tokenizer.decode(tokenizer.encode(text))
    assert all("\ufffd" not in piece or "\ufffd" in text for piece in pieces)


def test_a_character_of_several_tokens_comes_out_with_its_last_one() -> None:
    _, tokenizer = _byte_level()
    tokens = tokenizer.encode("⠿")  # never seen in training, so three bytes, three tokens
    assert len(tokens) == 3
    assert _pieces(_open_byte_level(), tokens) == ["", "", "⠿", ""]


def test_half_a_character_at_the_end_is_one_replacement_character() -> None:
    _, tokenizer = _byte_level()
    tokens = tokenizer.encode("a⠿")[:-1]
    assert _pieces(_open_byte_level(), tokens)[-1] == "\ufffd"


def test_a_special_token_has_no_text() -> None:
    _, tokenizer = _byte_level()
    end = tokenizer.encode("<|end|>", special_tokens=False)
    assert len(end) == 1
    assert _pieces(_open_byte_level(), end) == ["", ""]


@given(st.lists(st.sampled_from([*_WORDS, "⠿", "é"]), min_size=1, max_size=20))
def test_other_vocabularies_are_decoded_with_their_context(words: list[str]) -> None:
    tokenizer = _sentence_pieces()
    tokens = tokenizer.encode(" ".join(words)).ids
    pieces = _pieces(WindowDetokenizer(tokenizer.decode), tokens)
    assert "".join(pieces) == tokenizer.decode(tokens)
    assert all("\ufffd" not in piece for piece in pieces)


def test_bytes_that_never_make_a_character_do_not_grow_the_window() -> None:
    decoded: list[int] = []

    def decode(ids: Sequence[int]) -> str:
        decoded.append(len(ids))
        return str(_sentence_pieces().decode(list(ids)))

    detokenizer = WindowDetokenizer(decode)
    lone_byte = 1 + 0x80
    shown = "".join(_pieces(detokenizer, [lone_byte] * 500))
    assert len(shown) == 500
    assert max(decoded) <= 16


@given(st.lists(st.integers(min_value=0, max_value=_SIZE)), st.lists(st.text(max_size=3)))
def test_a_stream_shows_the_decoded_text_cut_at_the_first_stop(
    tokens: list[int], stops: list[str]
) -> None:
    _, tokenizer = _byte_level()
    stream = TextStream(_open_byte_level(), stops)
    shown = "".join([stream.push(token) for token in tokens]) + stream.finish()
    whole = tokenizer.decode(tokens)
    assert stream.text == shown
    assert whole.startswith(shown)
    met = [whole.find(stop) for stop in stops if stop and stop in whole]
    assert stream.stopped == bool(met)
    if met:
        assert any(whole[len(shown) :].startswith(stop) for stop in stops if stop)
    else:
        assert shown == whole
