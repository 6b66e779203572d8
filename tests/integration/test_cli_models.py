"""`millrace models import`, from the command line to the store."""

import json
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from millrace.cli.main import run
from model_store.store import ModelStore
from model_store.tiny import write_tiny_llama
from model_store.tiny_llama import random_llama
from model_store.tokenizer import TOKENIZER_FILE
from tests.support.models import write_gguf

Captured = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A GGUF file."""
    folder = tmp_path_factory.mktemp("source")
    tiny = write_tiny_llama(ModelStore(folder / "models")).path
    write_gguf(
        random_llama(Tokenizer.from_file(str(tiny / TOKENIZER_FILE))), tiny, folder / "a.gguf"
    )
    return folder / "a.gguf"


def test_an_import_takes_its_name_and_form_from_the_options(
    source: Path, tmp_path: Path, capsys: Captured
) -> None:
    environ = {"MILLRACE_MODELS_DIR": str(tmp_path)}
    words = ("models", "import", str(source), "--name", "mine", "--form", "int8", "--json")

    assert run(words, environ) == 0

    told = json.loads(capsys.readouterr().out)
    assert (told["ref"], told["form"], told["device"]) == ("mine:1", "int8", "cpu")
    assert ModelStore(tmp_path).resolve("mine").digest == told["digest"]


def test_the_lists_of_the_command_have_the_shape_of_the_api(source: Path, capsys: Captured) -> None:
    environ = {"MILLRACE_MODELS_DIR": str(source.parent / "models")}

    assert run(("models", "list", "--json"), environ) == 0

    told = json.loads(capsys.readouterr().out)
    assert (told["object"], told["has_more"]) == ("list", False)
    assert [each["ref"] for each in told["data"]] == ["tiny:1"]


@pytest.mark.parametrize(
    ("options", "code", "why"),
    [
        (("--form", "int4"), 2, "'int4' is not one of 'fp32', 'packed', 'int8', 'fp16'"),
        (("--device", "tpu"), 2, "'tpu' is not one of 'cpu', 'cuda'"),
        (("--name", "../out"), 1, "'../out' cannot name a model"),
    ],
)
def test_a_wrong_option_of_an_import_is_named(
    options: tuple[str, str], code: int, why: str, source: Path, tmp_path: Path, capsys: Captured
) -> None:
    environ = {"MILLRACE_MODELS_DIR": str(tmp_path / "models")}

    assert run(("models", "import", str(source), *options), environ) == code

    assert why in capsys.readouterr().err
    assert ModelStore(tmp_path / "models").models() == []
