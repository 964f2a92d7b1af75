"""Searches in MLflow: an open run for the search, and below it one for each trial, written when the trial is over."""

from __future__ import annotations

from typing import Literal

from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

from sluiceway.registry.connection import Connection
from sluiceway.registry.runs import KEY_TAG, RunRecord, write_run

Ended = Literal["FINISHED", "FAILED", "KILLED"]


class SearchRuns:
    """Writes the runs of searches of one experiment.

    A run is known by its key: a search that is taken up again goes on in its own run, and a trial that is there is not
    written a second time.

    Args:
        connection: of the registry.
        experiment_id: MLflow's.
    """

    def __init__(self, connection: Connection, experiment_id: str) -> None:
        self._connection, self._experiment = connection, experiment_id

    def open(self, record: RunRecord) -> str:
        """Open the run of a search, or open it again.

        Args:
            record: with a key; parameters, tags and artifacts that are known before the first trial.

        Returns:
            The run's id.

        Raises:
            BackendError: the store refused or could not be reached.
        """
        client = self._connection.client
        with self._connection.asking(f"open the run {record.name!r}"):
            known = self._find(record.key, ("RUNNING", "FINISHED", "FAILED", "KILLED"))
            if known is not None:
                client.update_run(known, status="RUNNING")
            run_id = known or str(
                client.create_run(self._experiment, run_name=record.name, tags={KEY_TAG: record.key}).info.run_id
            )
            write_run(client, record, run_id)  # again where it is known: its process may have been killed before
            return run_id

    def write_trial(self, parent: str, record: RunRecord, *, status: Ended) -> str:
        """Write a trial below its search, unless it is there.

        Args:
            parent: the search's run.
            record: with a key.
            status: ``KILLED`` for a trial that another try may still finish; such a run is not the trial's last one.

        Returns:
            The run's id.

        Raises:
            BackendError: the store refused or could not be reached.
        """
        client = self._connection.client
        with self._connection.asking(f"log the run {record.name!r}"):
            known = self._find(record.key, ("FINISHED", "FAILED"))
            if known is not None:
                return known
            left = self._find(record.key, ("RUNNING",))
            if left is not None:  # a process was killed while it wrote
                client.set_terminated(left, status="KILLED")
            mark = {KEY_TAG: record.key, MLFLOW_PARENT_RUN_ID: parent}
            run_id: str = client.create_run(self._experiment, run_name=record.name, tags=mark).info.run_id
            write_run(client, record, run_id)
            client.set_terminated(run_id, status=status)
            return run_id

    def close(self, run_id: str, record: RunRecord, *, status: Ended) -> None:
        """End the run of a search.

        Args:
            run_id: as :meth:`open` gave it.
            record: what the search found.
            status: how it ended.

        Raises:
            BackendError: the store refused or could not be reached.
        """
        with self._connection.asking(f"close the run {record.name!r}"):
            write_run(self._connection.client, record, run_id)
            self._connection.client.set_terminated(run_id, status=status)

    def _find(self, key: str, statuses: tuple[str, ...]) -> str | None:
        """The newest run with a key in one of the statuses."""
        found = self._connection.client.search_runs(
            [self._experiment], f"tags.`{KEY_TAG}` = '{key}'", order_by=["attributes.start_time DESC"]
        )
        return next((str(run.info.run_id) for run in found if run.info.status in statuses), None)
