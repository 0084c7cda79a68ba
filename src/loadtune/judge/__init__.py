"""What the numbers mean: intervals, ties, the document's models, the choice. Pure functions."""
