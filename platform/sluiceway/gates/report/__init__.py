"""The report of one model: what it draws, the drawings, the page."""
