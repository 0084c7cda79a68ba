"""What is to be tried: one loader setting, the space of them, the plan of a sweep, the data to load."""
