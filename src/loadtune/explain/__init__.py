"""What each finding and each kind of failure means: a page for each, in ``codes``, and how it is found."""
