"""The Ray session of a run: a local one with as many CPUs as workers, or the cluster that RAY_ADDRESS or the job
names.
"""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path
from typing import Any

from manifests.errors import UserError
from pipelines import ONE_THREAD

__all__ = ["CODE", "check_code", "start", "stop"]

CODE = Path(__file__).resolve().parents[1]


def start(workers: int) -> None:
    """Make sure that a Ray session runs. A session that is there already is used as it is."""
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    import ray

    if ray.is_initialized():
        return
    if os.environ.get("RAY_ADDRESS"):
        check_code()
        ray.init(runtime_env=_runtime_env(), log_to_driver=False, logging_level=logging.ERROR)
        return
    _workers_find_the_code()
    ray.init(num_cpus=workers, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)


def stop() -> None:
    """End the session that `start` made."""
    if (ray := sys.modules.get("ray")) is not None and ray.is_initialized():
        ray.shutdown()


def _workers_find_the_code() -> None:
    """Local workers inherit the environment: let them import what this driver imports, the user's systems included."""
    paths = [str(CODE), *(p for p in sys.path if p)]
    os.environ["PYTHONPATH"] = os.pathsep.join(
        dict.fromkeys([*paths, *os.environ.get("PYTHONPATH", "").split(os.pathsep)])
    ).strip(os.pathsep)


def _runtime_env() -> dict[str, Any]:
    """What a remote worker needs: the code, unless the job ships it already, and one thread per library."""
    env: dict[str, Any] = {"env_vars": ONE_THREAD}
    if not os.environ.get("RAY_JOB_CONFIG_JSON_ENV_VAR"):
        env |= {
            "working_dir": str(CODE),
            "excludes": [".git", ".venv", "tests", "benchmarks", "demo-output", "*.parquet"],
        }
    return env


def check_code() -> None:
    """Refuse to start where the working directory holds another copy of hubbub than the one this driver runs."""
    here = Path.cwd().resolve()
    if here != CODE and (here / "pipelines" / "engine.py").exists():
        raise UserError(
            f"this driver runs the hubbub in {CODE}, but the workers would get the one in {here}. "
            f"Run 'python -m pipelines' from the folder you ship, or install that folder with 'pip install -e {here}'"
        )
