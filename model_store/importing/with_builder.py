"""Imports Hugging Face folders of other architectures with onnxruntime-genai's own builder.

It needs torch and transformers (the extra ``export``).
"""

import importlib.util
import subprocess
import sys
from pathlib import Path

from contract.errors import MissingDependencyError, ModelImportError
from model_store.importing.onnx_folder import finish_generate
from model_store.importing.task import ImportTask
from model_store.manifest import ModelVersion

_NEEDED = ("torch", "transformers", "onnxruntime_genai")
_PRECISIONS = {"cpu": ("fp32", "int4"), "cuda": ("fp16", "bf16", "int4")}
_CUDA_OPTIONS = (
    "use_paged_attention=true",
    "prune_lm_head=true",
    "enable_cuda_graph=true",
    "max_batch_size=64",
)


def publish_with_builder(task: ImportTask, path: Path, folder: Path) -> ModelVersion:
    """Build an ONNX model from the folder, give it a paged cache, and add it.

    Raises:
        MissingDependencyError: torch or transformers is not installed.
        ModelImportError: the builder does not know the model, or the form.
    """
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise MissingDependencyError(
            f"{path} is not a plain llama, so it needs {', '.join(missing)}:"
            " pip install 'millrace[export]'"
        )
    if task.form not in _PRECISIONS[task.device]:
        known = ", ".join(_PRECISIONS[task.device])
        raise ModelImportError(f"{task.form!r} is no form for {task.device}; there is {known}")
    task.step("building with onnxruntime-genai (minutes)")
    with task.store.stage(task.name) as cache:
        done = subprocess.run(
            builder_command(task, path, folder, cache), capture_output=True, text=True, check=False
        )
    if done.returncode != 0:
        lines = (done.stderr or done.stdout).strip().splitlines()
        raise ModelImportError(f"the builder failed: {lines[-1] if lines else 'no output'}")
    return finish_generate(task, folder)


def builder_command(task: ImportTask, path: Path, folder: Path, cache: Path) -> list[str]:
    """The builder's command line for the task."""
    command = [sys.executable, "-m", "onnxruntime_genai.models.builder", "-i", str(path)]
    command += ["-o", str(folder), "-p", task.form, "-e", task.device, "-c", str(cache)]
    if task.device == "cuda":
        command += ["--extra_options", *_CUDA_OPTIONS]
    return command
