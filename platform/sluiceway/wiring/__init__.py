"""Builds the objects from the settings, a file for each kind of thing, so that nobody imports an engine in vain.

:mod:`stores` the places and the catalog, :mod:`context` the registry and what the loop works with, :mod:`cluster` Ray,
:mod:`hooks` what runs before and after changes of the repository of tables.
Constructors only: no decision about data, models or rollouts is taken here.
"""
