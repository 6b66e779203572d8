"""``python -m tests.support.fuzz_target``: reads model files for the fuzz tests.

A process of its own, so that a test sees when a native parser takes it down, and with a limit on
its memory. One question a line, ``{"what", "path"}``; one answer a line: ``{"code"}`` with the
code of the error in our tree (null: it was read), or ``{"foreign"}`` with a traceback.
"""

import json
import os
import resource
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path

from contract.errors import MillraceError
from model_store.chat_template import ChatTemplate
from model_store.export.llama import LAYER_WEIGHTS, Llama
from model_store.importing.gguf_file import GgufFile
from model_store.importing.gguf_model import read_gguf
from model_store.importing.gguf_tokenizer import write_gguf_tokenizer
from model_store.importing.hugging_face import read_bert_folder, read_llama_folder
from model_store.importing.onnx_encoder import publish_onnx_encoder
from model_store.importing.onnx_folder import publish_onnx_generate
from model_store.importing.recipes import default_form, recognise
from model_store.importing.task import ImportTask
from model_store.onnx_safety import check_onnx_files
from model_store.runtime import open_session
from model_store.store import ModelStore
from model_store.token_bytes import max_token_bytes
from model_store.tokenizer import TextTokenizer
from tests.support.models import bert_weights
from tests.support.versions import add

_MEMORY_BYTES = 1 << 30  # on top of what the libraries have taken
_MESSAGES = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "a\n{{b}}"}]


def _read_llama(llama: Llama) -> None:
    llama.config.rotary_tables()
    names = [f"{n}.{part}" for n in range(llama.config.layers) for part in LAYER_WEIGHTS]
    for name in ("embedding", "final_norm", *names):
        llama.weights.read(name)
        llama.weights.blocks(name)
    llama.output_weight()


def read_gguf_file(path: Path) -> None:
    """Everything that an import takes out of a GGUF file."""
    file = GgufFile(path)
    llama = read_gguf(file)
    with tempfile.TemporaryDirectory() as folder:
        write_gguf_tokenizer(file, Path(folder), context_length=llama.config.context_length)
        read_tokenizer(Path(folder))
    _read_llama(llama)


def read_tokenizer(folder: Path) -> None:
    """A tokenizer, its chat template, and a few texts through both."""
    tokenizer = TextTokenizer.load(folder)
    max_token_bytes(folder)
    tokenizer.decode(tokenizer.encode("A mill, 2 wheels."))
    if tokenizer.has_chat_template:
        tokenizer.prompt_tokens({"messages": _MESSAGES})


def read_template(path: Path) -> None:
    """A chat template, rendered."""
    ChatTemplate(path.read_text("utf-8"), {"eos_token": "</s>"}).render(_MESSAGES)


def read_llama(folder: Path) -> None:
    """A llama in a Hugging Face folder."""
    recognise(folder)
    _read_llama(read_llama_folder(folder))


def read_bert(folder: Path) -> None:
    """A BERT in a Hugging Face folder."""
    recognise(folder)
    bert_weights(read_bert_folder(folder))


def open_onnx(folder: Path) -> None:
    """A graph: is it safe, and can it be opened?"""
    check_onnx_files(folder)
    open_session(folder / "model.onnx", threads=1)


def import_onnx(folder: Path) -> None:
    """A folder with a ready ONNX model, from the first look to a version in a store."""
    with tempfile.TemporaryDirectory() as root:
        kind = recognise(folder)
        store = ModelStore(Path(root))
        task = ImportTask(store=store, name="m", form=default_form(kind, folder, "cpu"))
        publish = publish_onnx_encoder if kind == "onnx-embed" else publish_onnx_generate
        with store.stage("m") as staged:
            publish(task, folder, staged)


def read_store(root: Path) -> None:
    """Whatever a front or a worker asks of a store."""
    store = ModelStore(root)
    store.models()
    store.served()
    store.verify("m")
    store.promote("m")
    add(store, "three")


READERS: dict[str, Callable[[Path], None]] = {
    each.__name__: each
    for each in (
        read_gguf_file,
        read_tokenizer,
        read_template,
        read_llama,
        read_bert,
        open_onnx,
        import_onnx,
        read_store,
    )
}


def main() -> None:
    """Answer until standard input ends."""
    # What libraries print must not mix with the answers.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    warnings.simplefilter("ignore")
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + _MEMORY_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    for line in sys.stdin:
        question = json.loads(line)
        answer: dict[str, str | None] = {"code": None}
        try:
            READERS[question["what"]](Path(question["path"]))
        except MillraceError as error:
            answer = {"code": error.code}
        except BaseException:  # noqa: BLE001  # a panic of a Rust extension is no Exception
            answer = {"foreign": traceback.format_exc()[-3000:]}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
