"""Bundles by content: a folder per digest, written once, never changed; replicas and gates read from here."""

from __future__ import annotations

import tempfile
from pathlib import Path

from sluiceway.core.errors import BackendError, ModelError
from sluiceway.registry import bundle as bundles
from sluiceway.registry.bundle import Bundle


class BundleStore:
    """Folders ``ROOT/DIGEST`` on a file system that every node sees.

    Args:
        root: made on the first :meth:`put`.
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root).absolute()

    def put(self, bundle: Bundle) -> str:
        """Keep a bundle; a second time is a no-op, and repairs one that was damaged.

        Args:
            bundle: what to keep.

        Returns:
            Its absolute folder, ``ROOT/DIGEST``.

        Raises:
            BackendError: the folder cannot be written.
        """
        try:
            return str(bundles.write(bundle, self.root / bundle.digest, repair=True))
        except OSError as error:
            raise BackendError(
                f"cannot keep a model in {self.root}: {error}", hint="see that the folder is writable and not full"
            ) from error

    def has(self, digest: str) -> bool:
        """Whether a bundle of a digest is kept here, undamaged; reads all of it.

        Raises:
            ModelError: it is there and cannot be read.
        """
        return bundles.holds(self.root / digest, digest)

    def remove(self, digest: str) -> None:
        """Delete a bundle; a second time is a no-op.

        Raises:
            BackendError: the folder cannot be changed.
        """
        try:
            with tempfile.TemporaryDirectory(prefix=".removed-", dir=self.root) as grave:
                # One move: nobody sees a bundle of which half is gone.
                (self.root / digest).rename(Path(grave) / digest)
        except FileNotFoundError:
            return
        except OSError as error:
            raise BackendError(
                f"cannot delete a model in {self.root}: {error}", hint="see that the folder is writable"
            ) from error

    def get(self, uri: str, digest: str) -> Bundle:
        """The bundle at an address that :meth:`put` gave.

        Args:
            uri: a folder, or ``file://`` and a folder.
            digest: what the bundle has to be.

        Returns:
            The bundle, checked.

        Raises:
            ModelError: nothing is there, or another bundle.
        """
        path = uri.removeprefix("file://")
        if "://" in path:
            raise ModelError(f"{uri} is not a folder", hint="bundles are kept on a file system that every node sees")
        return bundles.read(path, digest=digest)
