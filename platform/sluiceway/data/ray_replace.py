"""Files without the rows of some keys, put into every log that names the files with them.

A file that a table and its branches share is written again once: all of them name the same new file afterwards, so a
merge sees nothing that the two sides would have done differently.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import pyarrow as pa
import ray
from deltalake import exceptions as delta

from sluiceway.core.doors import Progress
from sluiceway.core.errors import ConflictError
from sluiceway.data import delta_log, tables
from sluiceway.data.commit_files import RUN, Delivery
from sluiceway.data.commit_loop import give_way
from sluiceway.data.delta_log import Action
from sluiceway.data.ingest.file_writer import delete_written
from sluiceway.data.places import file_uri, plain_path
from sluiceway.data.ray_rewrite import DELETE, rewrite_files
from sluiceway.data.ray_work import in_turn
from sluiceway.data.rewrite import DELETED, LiveFile, RewriteShare, Rewritten
from sluiceway.data.three_way import erased_mark
from sluiceway.data.write_target import WriteTarget, refuse_removal, target_of
from sluiceway.data.written_files import Told, WrittenFile, write_files

ATTEMPTS = 20


@dataclass
class Replacements:
    """What stands for files with rows of the keys.

    Attributes:
        uri: the table; all new files lie in its folder.
        keys: whose rows go, in the types of the table.
        progress: told how far it is.
        run: 12 hex digits in the names of the new files.
        files: the new files by the identity of the old one; none where no other rows were in it.
        named: identities of the old files whose new ones a log names.
    """

    uri: str
    keys: pa.Table
    progress: Progress
    run: str = field(default_factory=lambda: uuid.uuid4().hex[:12])
    files: dict[str, tuple[WrittenFile, ...]] = field(default_factory=dict)
    named: set[str] = field(default_factory=set)

    def put(self, place: str, rows: Mapping[str, int], said: Delivery) -> int:
        """Let the newest version at a place name the new files instead of the old ones, in one commit.

        Args:
            place: the table, or a branch's copy of it.
            rows: of the keys, by the plain path of each file that has some.
            said: what the log is to say.

        Returns:
            how many rows went; where there are none, there is no commit.

        Raises:
            DataError: the table only grows, or a file is gone or cannot be read.
            UnsupportedTableError: the table has rules for writers that are not followed here.
            ConflictError: other writers won every race.
            BackendError: Ray failed.
        """
        for lost in range(ATTEMPTS):
            table = tables.open_table(place)
            target = target_of(table, uri=place)
            refuse_removal(target)
            state = delta_log.replay(place, table.version())
            live = {file_uri(place, path): add for path, add in state.adds.items()}
            gone = {identity: add for identity, add in live.items() if plain_path(identity) in rows}
            if not gone:
                return 0
            self._write(target, {identity: add for identity, add in gone.items() if identity not in self.files})
            files = [file for identity in gone for file in self.files[identity]]
            deleted = sum(rows[plain_path(identity)] for identity in gone)
            marks = [erased_mark(self.run, identity) for identity in gone]
            told = Told(DELETE, said.metadata(deleted) | {DELETED: deleted, RUN: self.run}, marks=marks)
            try:
                write_files(target, state, files, told=told, remove=gone.values(), lie_in=self.uri)
            except delta.CommitFailedError:
                give_way(lost)
                continue
            self.named.update(gone)
            return deleted
        raise ConflictError(f"other writers of {place} won every race", hint="run it again", table=place)

    def clear(self) -> None:
        """Delete the new files that no log names: those of a place that could not be written."""
        unnamed = [file for identity, files in self.files.items() if identity not in self.named for file in files]
        delete_written(self.uri, unnamed)

    def _write(self, target: WriteTarget, old: Mapping[str, Action]) -> None:
        there = replace(target, uri=self.uri)
        shares = [
            RewriteShare(
                there,
                (LiveFile(identity, identity, int(add["size"]), add.get("partitionValues") or {}),),
                self.run,
                len(self.files) + number,
            )
            for number, (identity, add) in enumerate(old.items())
        ]
        keys = ray.put(self.keys)
        done: Rewritten
        for done in in_turn(lambda one: rewrite_files.remote(one, keys), shares, uri=self.uri, progress=self.progress):
            self.files[done.looked[0]] = done.files
