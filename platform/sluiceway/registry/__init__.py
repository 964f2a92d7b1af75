"""Models as folders of data, and the one room that speaks MLflow.

Belongs here: the bundle (a folder of four files and one digest over them), where bundles are kept, runs, registered
versions and aliases. Does not belong here: training, scoring, or a decision which version should serve; this room
writes down and gives back what others decided. ``bundle`` and ``store`` import no engine.
"""
