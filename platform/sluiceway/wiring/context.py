"""The registry, and everything that the loop works with."""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import yaml

from sluiceway.config.deployment import DeploymentSection, ReplaySection
from sluiceway.config.load import header_secret
from sluiceway.config.platform import PlatformSection
from sluiceway.config.settings import Settings
from sluiceway.core.clock import SystemClock
from sluiceway.core.doors import Progress, SilentProgress
from sluiceway.lifecycle.context import CodeVersion, Context, Folders
from sluiceway.registry.mlflow_registry import Registry
from sluiceway.registry.store import BundleStore
from sluiceway.wiring.stores import build_stores, history_table, state_folder, tracking_uri


def build_registry(platform: PlatformSection) -> Registry:
    """The model registry; it connects when it is first used."""
    return Registry(tracking_uri(platform), state_folder(platform) / "artifacts")


def build_context(
    settings: Settings, *, progress: Progress | None = None, connect: Callable[[], None] = lambda: None
) -> Context:
    """Everything that the loop needs; nothing is started here.

    Args:
        settings: the configuration.
        progress: told of stages; nobody by default.
        connect: starts or joins Ray where the loop first needs it; left out where :func:`connect_ray` comes before.

    Raises:
        BackendError: the catalog or the registry cannot be used.
    """
    state = state_folder(settings.platform)
    text = yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False)
    return Context(
        experiment=settings.experiment,
        data=settings.data,
        model=settings.model,
        training=settings.training,
        evaluation=settings.evaluation,
        deployment=_with_users(settings),
        serving=settings.platform.serving,
        steps=settings.lifecycle,
        config_text=text,
        config_digest=hashlib.sha256(text.encode()).hexdigest(),
        aliases=settings.platform.aliases,
        stores=build_stores(settings.platform),
        registry=build_registry(settings.platform),
        bundles=BundleStore(state / "bundles"),
        folders=Folders(
            state, state / "reports", state / "out_of_fold", state / "records", history_table(settings.platform)
        ),
        code=code_version(),
        progress=progress or SilentProgress(),
        clock=SystemClock(),
        connect=connect,
        secret=header_secret,
    )


def _with_users(settings: Settings) -> DeploymentSection:
    """A cluster that we start on this machine has no users; rows that the model has not seen stand in for them."""
    alone = settings.platform.ray.address is None and "RAY_ADDRESS" not in os.environ
    if settings.deployment.replay is None and alone:
        return settings.deployment.model_copy(update={"replay": ReplaySection()})
    return settings.deployment


def code_version() -> CodeVersion:
    """The git commit of the package's checkout, or of the image that says it in a file beside the package."""
    root = Path(__file__).resolve().parent.parent
    try:
        commit = _git(root, "rev-parse", "HEAD")
        return CodeVersion(commit, dirty=bool(_git(root, "status", "--porcelain", "--", ".")))
    except (OSError, subprocess.CalledProcessError):
        return CodeVersion("", dirty=True)


def _git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()
