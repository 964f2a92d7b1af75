"""Every error that Sluiceway raises, by what the person who reads it should do.

    SluicewayError                 exit code 4: something broke that the caller did not cause
    |- InputError                  exit code 2: change what you gave us; nothing was changed
    |  |- ConfigError              a configuration file, a key, or an option of a command
    |  |- DataError                a table, a reference to a version, or the rows themselves
    |  |  |- TableNotFoundError
    |  |  |- ReferenceNotFoundError
    |  |  |- SchemaMismatchError
    |  |  `- UnsupportedTableError
    |  |- ModelError               a model, a version or an alias that is not there or not usable
    |  `- RequestError             one request to an endpoint (status 4xx)
    |- HookRefusedError            exit code 1: a hook of yours said no; nothing was changed
    |- ConflictError               somebody else was faster: read again and repeat
    |  |- ChampionChangedError     a rollout's plan is of a champion of before; nothing was changed
    |  `- MergeConflictError       exit code 1: both sides of a merge changed the same; nothing was changed
    |- ArmError                    a model behind an endpoint did not answer
    |- NotReadyError               an endpoint has no model to answer with yet
    |- OverloadedError             an endpoint's replica holds as much as it may
    `- BackendError                a service or the machine: not reachable, port taken, out of memory

A gate that fails and a rollout that is rolled back are results (:mod:`sluiceway.core.verdict`), not errors.

An error takes one positional message; everything else is keyword-only with a default, because Ray pickles errors by
``args`` and could not rebuild them otherwise.
"""

from __future__ import annotations

from typing import Any


class SluicewayError(Exception):
    """Base of all errors.

    Args:
        message: what is wrong and where, one sentence.
        hint: what to do about it, or None.
        fields: machine-readable facts (table, version, path ...), shown by ``--json``.
    """

    exit_code = 4

    def __init__(self, message: str = "", *, hint: str | None = None, **fields: Any) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.fields = fields

    def __str__(self) -> str:
        return f"{self.message}\n  hint: {self.hint}" if self.hint else self.message


class InputError(SluicewayError):
    """The caller has to change the input; nothing was changed."""

    exit_code = 2


class ConfigError(InputError):
    """A configuration that cannot run: all its problems at once.

    Args:
        message: a headline; the problems are listed below it.
        problems: one line each: file, key, what is wrong, what was probably meant.
    """

    def __init__(
        self,
        message: str = "",
        *,
        problems: tuple[str, ...] = (),
        hint: str | None = None,
        **fields: Any,
    ) -> None:
        super().__init__(message, hint=hint, **fields)
        self.problems = problems

    def __str__(self) -> str:
        hint = [f"  hint: {self.hint}"] if self.hint else []
        return "\n".join([self.message, *(f"  - {problem}" for problem in self.problems), *hint])


class DataError(InputError):
    """A table, a version, or rows that cannot be used."""


class TableNotFoundError(DataError):
    """There is no Delta table at the given place."""


class ReferenceNotFoundError(DataError):
    """The table exists; the version, tag, branch or time does not."""


class SchemaMismatchError(DataError):
    """Columns or types are not those that the table or the model has."""


class UnsupportedTableError(DataError):
    """The table uses Delta features that would be read wrongly (column mapping, deletion vectors ...)."""


class ModelError(InputError):
    """A model, version or alias that does not exist or cannot be used."""


class RequestError(InputError):
    """A request that an endpoint refuses.

    Args:
        message: what is wrong.
        status: the HTTP status, 400 to 499.
        problems: one entry a problem: ``{"path": "$.rows[0].distance", "problem": "..."}``.
    """

    def __init__(
        self,
        message: str = "",
        *,
        status: int = 400,
        problems: tuple[dict[str, str], ...] = (),
        hint: str | None = None,
        **fields: Any,
    ) -> None:
        super().__init__(message, hint=hint, **fields)
        self.status = status
        self.problems = problems


class ConflictError(SluicewayError):
    """Another writer won the race; read the present state and repeat."""


class ChampionChangedError(ConflictError):
    """The champion is another one than when the rollout was planned; nothing was changed."""


class MergeConflictError(ConflictError):
    """A merge that would lose somebody's change; nothing was changed."""

    exit_code = 1


class HookRefusedError(SluicewayError):
    """A hook that runs before a change said no, or could not be asked; nothing was changed."""

    exit_code = 1


class BackendError(SluicewayError):
    """A service or the machine did not do its part: not reachable, port taken, out of memory."""


class ArmError(SluicewayError):
    """An arm of an endpoint did not answer: it raised, took too long, or answered nonsense."""


class NotReadyError(SluicewayError):
    """An endpoint has no model to answer with yet."""


class OverloadedError(SluicewayError):
    """An endpoint's replica has as much to do as it may hold; the same request can be answered later."""
