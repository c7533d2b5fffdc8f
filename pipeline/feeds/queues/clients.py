"""Shared by all queues: their client libraries, and secrets from the environment."""

from __future__ import annotations

import importlib
from typing import Any

from pipeline.core.errors import BillhouseError
from pipeline.core.home import Home
from pipeline.store.alert_log import OperationalAlert, raise_alert


def client_library(module: str, extra: str) -> Any:
    """Import a client library. Raises BillhouseError that names the extra of the package if it is not installed."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != module.partition(".")[0]:
            raise
        raise BillhouseError(
            f"The client library for this queue, {module.partition('.')[0]}, is not installed.",
            f"Install it: pip install 'billhouse[{extra}]'",
        ) from None


def alert_about_loss(home: Home, name: str, loss: str) -> None:
    """Raise the alert that messages of a queue were lost; once a day for a feed."""
    raise_alert(home, OperationalAlert("check_failed", f"Feed {name}: messages lost", loss))
