"""The last stretch of every llama's import: write, validate, describe, add to the store."""

from pathlib import Path
from typing import Any

from contract.errors import ModelImportError
from model_store.export.configurations import write_configurations
from model_store.export.graph import MODEL_FILE
from model_store.export.llama import Llama
from model_store.export.llama_graph import (
    CUDA_FORM,
    EXACT,
    FORMS,
    INT8,
    PACKED,
    write_llama_graph,
)
from model_store.importing.exactness import check_exactness, check_round_trip
from model_store.importing.golden import (
    GOLDEN_TOKENS,
    QUESTIONS,
    Answer,
    answer_questions,
    prepare_questions,
    record_goldens,
)
from model_store.importing.model_card import write_model_card
from model_store.importing.quality import compare_answers, measure_quality
from model_store.importing.rotation import rotated
from model_store.importing.rounding import rounded
from model_store.importing.smoothing import smoothed
from model_store.importing.task import ImportTask
from model_store.importing.texts import CALIBRATION, EXACTNESS, QUALITY
from model_store.manifest import UNBOUNDED_TOKEN_BYTES, Manifest, ModelVersion
from model_store.paged_session import PagedSession
from model_store.token_bytes import max_token_bytes
from model_store.tokenizer import TextTokenizer


def publish_llama(task: ImportTask, folder: Path, llama: Llama) -> ModelVersion:
    """Make a version of ``llama`` from ``folder``, which holds its tokenizer already.

    An exact form is held against a reference. For another form fp32 is written and held against
    it as well, and the form measured against that.

    Raises:
        ModelImportError: the graph or the tokenizer does not do what it must.
    """
    if task.form not in FORMS[task.device]:
        raise ModelImportError(
            f"{task.form!r} is no form for {task.device}; there is {', '.join(FORMS[task.device])}"
        )
    write_configurations(llama.config, folder, form=task.form)
    tokenizer = TextTokenizer.load(folder)
    written = llama
    if task.form == INT8:
        task.step("measuring activations")
        texts = [tokenizer.encode(text) for text in CALIBRATION]
        written = rounded(rotated(smoothed(llama, texts)), texts)
    task.step("rounding to 8 bits" if task.form == INT8 else "writing the graph")
    write_llama_graph(written, folder, form=task.form)
    token_bytes = max_token_bytes(folder)
    lossless = token_bytes < UNBOUNDED_TOKEN_BYTES
    survivors = check_round_trip(tokenizer, llama.config.vocabulary, lossless=lossless)
    quality: dict[str, Any] = {"tokenizer_round_trips": survivors}
    if task.form in (EXACT, PACKED):
        session = _open(task, folder, tokenizer)
        answers = again = _validate(task, session, llama, tokenizer, quality)
    else:
        with task.store.stage(task.name) as scratch:
            write_llama_graph(llama, scratch)
            exact = _open(task, scratch, tokenizer)
        expected = _validate(task, exact, llama, tokenizer, quality)
        if task.form == CUDA_FORM:
            # Only a GPU can run it; until then it owes the answers of the exact form.
            quality["compared_with"] = "nothing: this form runs on a GPU only"
            answers = again = expected
        else:
            session = _open(task, folder, tokenizer)
            task.step("measuring quality against fp32")
            quality |= measure_quality(exact, session, tokenizer)
            answers = answer_questions(session, tokenizer)
            again = answer_questions(session, tokenizer, together=False)
            quality |= compare_answers(expected, again, tokenizer)
    manifest = Manifest(
        task="generate",
        form=task.form,
        device=task.device,
        context_length=llama.config.context_length,
        max_token_bytes=token_bytes,
        has_chat_template=tokenizer.has_chat_template,
        golden=record_goldens(answers, again, tokenizer, form=task.form),
        quality=quality,
        source=task.source,
    )
    write_model_card(folder, task.name, manifest)
    task.step("adding to the store")
    return task.store.add(task.name, folder, manifest)


def _open(task: ImportTask, folder: Path, tokenizer: TextTokenizer) -> PagedSession:
    """A session with room for whatever validation feeds it."""
    task.step("opening the graph")
    longest = max(len(tokenizer.encode(text)) for text in (*EXACTNESS, *QUALITY))
    prompts = [len(answer.prompt) for answer in prepare_questions(tokenizer)]
    return PagedSession(
        folder / MODEL_FILE,
        rows=max(len(QUESTIONS), len(EXACTNESS)),
        row_tokens=max(longest, max(prompts) + GOLDEN_TOKENS),
    )


def _validate(
    task: ImportTask,
    session: PagedSession,
    llama: Llama,
    tokenizer: TextTokenizer,
    quality: dict[str, Any],
) -> list[Answer]:
    """Check the exact form, add what was measured to ``quality``, and take its answers."""
    task.step("comparing logits with the reference")
    found = check_exactness(session, llama, tokenizer)
    quality |= {
        "fp32_max_logit_error": float(f"{found.max_logit_error:.3g}"),
        "fp32_max_logit": float(f"{found.max_logit:.3g}"),
        "fp32_positions": found.positions,
    }
    task.step("recording golden answers")
    return answer_questions(session, tokenizer)
