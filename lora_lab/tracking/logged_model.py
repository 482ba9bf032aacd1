"""A LoRA as a model that MLflow keeps: `mlflow.diffusers.load_model` opens it, and it can be registered.

The model is written in the format of `mlflow.diffusers` without calling its `save_model`: that imports torch and peft,
which whoever ships need not have, and asks the network about the base model.
"""

import contextlib
import filecmp
import importlib.metadata
import os
import shutil
import tempfile
import urllib.parse
import urllib.request
import uuid
from pathlib import Path
from typing import Any

from lora_lab.tracking.events import LORA_FOLDER, LoraModel, Registered

FLAVOUR = "diffusers"
WEIGHTS = "adapter_weights"
WEIGHT_FILE = "pytorch_lora_weights.safetensors"
PACKAGES = ("diffusers", "transformers", "torch", "peft", "safetensors", "accelerate")
MODEL_TYPE = "lora"


def log_lora(client: Any, run_id: str, experiment_id: str, event: LoraModel) -> None:
    """Keep the LoRA of a run as a model with signature and base model; once, however often this is called.

    A file that is no safetensors is left out: a model must not hold pickles. Raises what MLflow raises, and
    FileNotFoundError where the LoRA is gone.
    """
    if event.path.suffix != ".safetensors":
        return
    if not event.path.is_file():
        raise FileNotFoundError(str(event.path))
    model = model_of(client, run_id, experiment_id)
    if model is not None and str(model.status) == "READY":
        return
    if model is not None:
        client.delete_logged_model(model.model_id)  # an attempt that broke off
    facts = {key: value[:500] for key, value in event.facts.items()}
    about = {"base_model": event.base_model[:500], **facts}
    model = client.create_logged_model(
        experiment_id, name=_model_name(event.path.stem), source_run_id=run_id, params=about, model_type=MODEL_TYPE
    )
    with tempfile.TemporaryDirectory(prefix="lora-lab-model-") as folder:
        write_model(Path(folder), event, run_id=run_id, model_id=model.model_id)
        client.log_model_artifacts(model.model_id, folder)
    kept = _local(client.get_run(run_id).info.artifact_uri) / LORA_FOLDER / event.path.name
    keep_once(kept, _local(model.artifact_location) / WEIGHTS / WEIGHT_FILE)
    client.finalize_logged_model(model.model_id, "READY")
    _connect(client, run_id, model.model_id, event.step)


def model_of(client: Any, run_id: str, experiment_id: str) -> Any:
    """Return the run's LoRA as MLflow's `LoggedModel`, or None."""
    found = client.search_logged_models([experiment_id], f"source_run_id = '{run_id}'")
    ours = [model for model in found if model.model_type == MODEL_TYPE]
    return ours[0] if ours else None


def register(client: Any, run_id: str, experiment_id: str, event: Registered) -> None:
    """Make the run's LoRA a version of a registered model, once, and let the alias point at it.

    Raises ValueError where the run has no model.
    """
    from mlflow.exceptions import MlflowException

    model = model_of(client, run_id, experiment_id)
    if model is None:
        raise ValueError(f"the run has no LoRA to register as {event.model}")
    try:
        client.create_registered_model(event.model, description="LoRAs trained by lora_lab")
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    versions = [one for one in client.search_model_versions(f"name = '{event.model}'") if one.run_id == run_id]
    version = (
        versions[0]
        if versions
        else client.create_model_version(
            event.model,
            model.artifact_location,
            run_id=run_id,
            tags=dict(event.tags),
            await_creation_for=None,
            model_id=model.model_id,
        )
    )
    client.set_registered_model_alias(event.model, event.alias, version.version)


def write_model(folder: Path, event: LoraModel, *, run_id: str, model_id: str) -> None:
    """Write the files of a model into an empty folder: weights, `MLmodel`, what it needs to be loaded."""
    from mlflow import pyfunc
    from mlflow.models import Model

    (folder / WEIGHTS).mkdir()
    _link(event.path, folder / WEIGHTS / WEIGHT_FILE)
    model = Model(run_id=run_id, model_id=model_id, signature=signature(), metadata=dict(event.facts))
    model.add_flavor(
        FLAVOUR,
        base_model=event.base_model,
        adapter_type="lora",
        adapter_weights=WEIGHTS,
        diffusers_version=_version("diffusers") or "",
        code=None,
    )
    pyfunc.add_to_model(model, "mlflow.diffusers", conda_env="conda.yaml", python_env="python_env.yaml")
    model.model_size_bytes = event.path.stat().st_size
    model.save(str(folder / "MLmodel"))
    _write_requirements(folder)


def signature() -> Any:
    """Return what a pipeline with the LoRA takes and gives: a prompt, and a picture's bytes."""
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema

    options = [
        ("num_inference_steps", DataType.integer, 30),
        ("guidance_scale", DataType.double, 7.5),
        ("height", DataType.integer, 512),
        ("width", DataType.integer, 512),
        ("negative_prompt", DataType.string, ""),
    ]
    return ModelSignature(
        inputs=Schema([ColSpec(type=DataType.string, name="prompt")]),
        outputs=Schema([ColSpec(type=DataType.binary, name="image")]),
        params=ParamSchema([ParamSpec(name, kind, default) for name, kind, default in options]),
    )


def _write_requirements(folder: Path) -> None:
    from mlflow.utils.environment import _mlflow_conda_env, _PythonEnv

    pinned = [f"{name}=={version}" if (version := _version(name)) else name for name in PACKAGES]
    needs = [f"mlflow=={_version('mlflow')}", *pinned]
    (folder / "requirements.txt").write_text("\n".join(needs) + "\n", encoding="utf-8")
    _mlflow_conda_env(path=str(folder / "conda.yaml"), additional_pip_deps=pinned)
    _PythonEnv.current().to_yaml(str(folder / "python_env.yaml"))


def _version(package: str) -> str | None:
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        return importlib.metadata.version(package).partition("+")[0]
    return None


def _link(source: Path, target: Path) -> None:
    """Let a second name stand for a file, where the disk can; else copy it."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def keep_once(file: Path, other: Path) -> None:
    """Let two files of a store that is a folder here, the run's LoRA and its model's, be one on the disk.

    A store cannot be told so from outside: on a server's own, both are kept.
    """
    beside = file.with_name(f".{uuid.uuid4().hex[:8]}")
    with contextlib.suppress(OSError, ValueError):
        if not file.samefile(other) and filecmp.cmp(file, other, shallow=False):
            try:
                os.link(other, beside)
                beside.replace(file)
            finally:
                beside.unlink(missing_ok=True)


def _local(uri: str) -> Path:
    """Return where an address of a store lies here; a path that is not there for stores elsewhere."""
    parts = urllib.parse.urlsplit(uri)
    return Path(urllib.request.url2pathname(parts.path)) if parts.scheme in ("", "file") else Path(os.devnull, "no")


def _model_name(text: str) -> str:
    """Return a name without the letters that MLflow refuses in a model's."""
    return "".join("_" if letter in "/:.%\"'" else letter for letter in text)[:200] or "lora"


def _connect(client: Any, run_id: str, model_id: str, step: int) -> None:
    """Show the model among the run's outputs."""
    from mlflow.entities import LoggedModelOutput

    client.log_outputs(run_id, [LoggedModelOutput(model_id, step)])
