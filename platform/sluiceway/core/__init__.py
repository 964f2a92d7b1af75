"""The vocabulary that every floor speaks: errors, references, verdicts, doors, the clock.

Belongs here: small immutable types with no engine and no I/O. Does not belong here: anything that reads a file,
opens a connection or knows the configuration.
"""
