"""The loop: ingest, release (train, judge, register, roll out), restore; journaled, resumable.

Belongs here: the order of the steps, what each step's result depends on, and what a run says at its end. Does not
belong here: how anything is read, trained, judged, stored or served (the floors below), nor how it is shown (cli).
"""
