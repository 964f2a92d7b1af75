"""Judging numbers: what a model and its training rows have to show before anybody may use them.

Belongs here: metrics, statistics, the gates (pure functions that give a ``GateResult``), waivers and the report.
Does not belong here: reading tables, training, or deciding what happens after a FAIL. Only ``ray_tasks`` knows Ray;
a model is known by the ``Scorer`` door alone.
"""
