"""Schedules and sensors as this project defines them, and the parts that their functions share."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import dagster as dg

from pipeline.core.failures import convert_errors
from pipeline.core.settings import Settings

_IS_AUTOMATED = Settings.load().automate
"""Whether schedules and sensors are on from the start (BILLHOUSE_AUTOMATE)."""


def schedule(job: Any, cron: str) -> Callable[[Callable[..., Any]], dg.ScheduleDefinition]:
    """A schedule in UTC. The UI shows the function's docstring as its description."""
    status = dg.DefaultScheduleStatus.RUNNING if _IS_AUTOMATED else dg.DefaultScheduleStatus.STOPPED
    return lambda function: dg.schedule(
        job=job, cron_schedule=cron, execution_timezone="UTC", description=function.__doc__, default_status=status
    )(convert_errors(function))


def sensor(job_name: str, *, every_seconds: int) -> Callable[[Callable[..., Any]], dg.SensorDefinition]:
    """A sensor that launches a job. The UI shows the function's docstring as its description."""
    status = dg.DefaultSensorStatus.RUNNING if _IS_AUTOMATED else dg.DefaultSensorStatus.STOPPED
    return lambda function: dg.sensor(
        job_name=job_name, minimum_interval_seconds=every_seconds, description=function.__doc__, default_status=status
    )(convert_errors(function))


def has_waiting_run(context: dg.SensorEvaluationContext | dg.ScheduleEvaluationContext, job: str) -> bool:
    """Whether a run of the job is in the queue; it will process everything that is there when it starts.

    A run that was created but not queued, because its launcher was killed, never starts and does not count.
    """
    waiting = [dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.STARTING]
    return context.instance.get_runs_count(dg.RunsFilter(job_name=job, statuses=waiting)) > 0


def hourly_run_key(*parts: str) -> str:
    """A run key that is new each hour: Dagster launches one run per key, so a failed run is repeated in the next hour."""
    return f"{' '.join(parts)} {current_hour()}"


def current_hour() -> str:
    """The current hour in UTC: '2026-09-01T08'."""
    return f"{datetime.now(UTC):%Y-%m-%dT%H}"


def digest(parts: list[str]) -> str:
    """A short digest of a set of ids."""
    return hashlib.sha256("\0".join(sorted(parts)).encode()).hexdigest()[:16]
