"""Findings about Redis, the models and the device that runs them."""

from collections.abc import Iterator

from contract.errors import MillraceError, MissingDependencyError, StoreUnavailableError
from contract.settings import Settings
from millrace.doctor.finding import Finding, Level
from millrace.extras import needs, require
from millrace.up import valkey
from millrace.up.errors import StoreUnfitError
from millrace.up.ports import is_listening
from millrace.up.redis_facts import public_address, read_facts, require_fit


def redis(settings: Settings) -> Iterator[Finding]:
    """The server that holds the jobs: there, new enough, keeping what it is given."""
    url = settings.redis_url
    if settings.embedded_redis and not is_listening(valkey.HOST, settings.redis_port):
        detail = f"not running; `millrace up` starts one on port {settings.redis_port}"
        yield Finding(check="redis", level=Level.OK, detail=detail)
        return
    try:
        require("redis", extra="local")
        facts = read_facts(url)
        warnings = require_fit(facts, settings)
    except MissingDependencyError as error:
        yield Finding(check="redis", level=Level.WARN, detail="not looked at", advice=error.detail)
        return
    except StoreUnfitError as error:
        yield Finding(
            check="redis", level=Level.FAIL, detail=error.detail, advice="see the server's settings"
        )
        return
    except StoreUnavailableError as error:
        refuses = error.detail.startswith("Redis refuses")
        name = "MILLRACE_REDIS_PORT" if settings.embedded_redis else "MILLRACE_REDIS_URL"
        yield Finding(
            check="redis",
            level=Level.FAIL,
            detail=error.detail,
            advice="give it memory or disk" if refuses else f"start it, or set {name}",
        )
        return
    if facts.refusal:
        detail = f"{facts.name} {facts.version} at {public_address(url)} takes no jobs"
        yield Finding(
            check="redis",
            level=Level.FAIL,
            detail=f"{detail}: {facts.refusal}",
            advice="give it room; submits get 503 until then, results wait with their workers",
        )
        return
    for warning in warnings:
        detail, _, advice = warning.partition("; ")
        yield Finding(check="redis", level=Level.WARN, detail=detail, advice=advice)
    if not warnings:
        kept = "append-only file, no eviction" if facts.append_only else "persistence not told"
        detail = f"{facts.name} {facts.version} at {public_address(url)}, {kept}"
        yield Finding(check="redis", level=Level.OK, detail=detail)


def models(settings: Settings) -> Iterator[Finding]:
    """Every file of the models that a worker here would serve, against its sha256."""
    with needs("worker"):
        from model_store import ModelStore

    store = ModelStore(settings.models_dir)
    for ref in settings.model:
        try:
            version = store.verify(ref)
        except MillraceError as error:
            missing = error.code == "unknown_model"
            yield Finding(
                check=f"model {ref}",
                level=Level.WARN if missing else Level.FAIL,
                detail=error.detail,
                advice=f"millrace models import {ref.partition(':')[0].partition('@')[0]}"
                + (" (`millrace up` does it too)" if missing else ""),
            )
            continue
        size = sum(each.bytes for each in version.manifest.files.values()) / 1e6
        detail = f"{version.ref} ({version.manifest.form}, {size:.0f} MB): every file is whole"
        yield Finding(check=f"model {ref}", level=Level.OK, detail=detail)


def device(settings: Settings) -> Iterator[Finding]:
    """Whether there is what MILLRACE_DEVICE asks for: ONNX Runtime with CUDA, and a GPU."""
    with needs("local"):
        from model_store.runtime import available_providers
        from workers.devices import list_gpus

    wanted = settings.device
    gpus = [f"cuda:{gpu.index}" for gpu in list_gpus()]
    has_cuda = "CUDAExecutionProvider" in available_providers()
    seen = f"MILLRACE_DEVICE={wanted}; GPUs: {', '.join(gpus) or 'none'}"
    seen += f"; ONNX Runtime {'with' if has_cuda else 'without'} CUDA"
    level, advice = Level.OK, ""
    if wanted.startswith("cuda") and not (gpus if wanted == "cuda" else wanted in gpus):
        level, advice = Level.FAIL, "set MILLRACE_DEVICE=cpu, or look at what nvidia-smi says"
    elif wanted.startswith("cuda") and not has_cuda:
        level, advice = Level.FAIL, "install the extra gpu in place of cpu"
    elif wanted == "auto" and gpus and not has_cuda:
        level, advice = Level.WARN, "the GPU stays idle: install the extra gpu in place of cpu"
    yield Finding(check="device", level=level, detail=seen, advice=advice)
