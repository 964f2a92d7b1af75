"""The command line: one file a noun; each command parses, calls the library, prints.

Does not belong here: decisions. Whatever a command does, ``from sluiceway import ...`` can do.
"""
