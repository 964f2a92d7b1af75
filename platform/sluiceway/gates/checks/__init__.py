"""The gates: each file is one of them, pure functions of rows, labels and scores."""
