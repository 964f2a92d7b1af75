"""The connection to MLflow: opened late and once, quiet, its errors said in our words."""

from __future__ import annotations

import logging
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from sluiceway.core.errors import BackendError, ModelError
from sluiceway.registry.reach import probe, visible

_PAGE = 1000


class Connection:
    """One client of one tracking store, which is the model registry too; pickles as its address.

    Making a SQLite store takes MLflow seconds, opening one half a second, so it happens when it is first needed.

    Args:
        tracking_uri: of MLflow.
    """

    def __init__(self, tracking_uri: str) -> None:
        self.tracking_uri = tracking_uri
        self._lock = threading.Lock()
        self._opened: MlflowClient | None = None

    def __reduce__(self) -> tuple[type[Connection], tuple[str]]:
        return Connection, (self.tracking_uri,)

    @property
    def client(self) -> MlflowClient:
        """The client.

        Raises:
            BackendError: the store does not answer.
        """
        with self._lock:
            if self._opened is None:
                probe(self.tracking_uri)
                with _quiet():
                    client = MlflowClient(self.tracking_uri, self.tracking_uri)
                    client.search_registered_models(max_results=1)  # makes or migrates both stores, maps the classes
                    client.search_experiments(max_results=1)
                self._opened = client
            return self._opened

    def check(self) -> None:
        """Ask the store a question, after seeing that it is there.

        Raises:
            BackendError: it does not answer.
        """
        probe(self.tracking_uri)
        with self.asking("check the store"):
            self.client.search_experiments(max_results=1)

    @contextmanager
    def asking(self, what: str) -> Iterator[None]:
        """Turn MLflow's errors into ours.

        Args:
            what: what is being done, to follow "MLflow did not".

        Raises:
            ModelError: something that was named does not exist, or has an impossible name.
            BackendError: the store refused or could not be reached.
        """
        try:
            yield
        except MlflowException as error:
            named = error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")
            place = visible(self.tracking_uri)
            hint = f"see what {place} holds in MLflow's UI" if named else f"see that {place} is healthy"
            kind = ModelError if named else BackendError
            raise kind(f"MLflow did not {what}: {error.message}", hint=hint) from error
        except OSError as error:
            raise BackendError(
                f"MLflow did not {what}: {error}",
                hint=f"see that {visible(self.tracking_uri)} answers and its artifact folder is writable",
            ) from error


def write_again_if_lost(write: Callable[..., Any], *values: str) -> None:
    """Make a write that sets one value, again where another process was inside the same one.

    MLflow looks for the row and then inserts it: of two at once the slower one breaks a unique key. The second try
    finds the row and changes it; whoever is third loses to nobody who has not written the row already.

    Args:
        write: one of the client's setters of a tag or an alias.
        values: its arguments.
    """
    try:
        write(*values)
    except MlflowException as error:
        if error.error_code != "BAD_REQUEST":  # what MLflow makes of a broken constraint, and of little else
            raise
        write(*values)


def pages(search: Any, **query: Any) -> list[Any]:
    """All results of one of the client's searches."""
    found: list[Any] = []
    token = None
    while True:
        page = search(max_results=_PAGE, page_token=token, **query)
        found += page
        token = page.token
        if not token:
            return found


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence what MLflow says while it makes or migrates its database."""
    loggers = [logging.getLogger(name) for name in ("mlflow.store.db.utils", "alembic")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            # MLflow maps its own classes with a strategy that SQLAlchemy 2.1 deprecates.
            warnings.filterwarnings("ignore", message=".*noload.*", category=DeprecationWarning)
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
