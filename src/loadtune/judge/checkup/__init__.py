"""What is good on a machine, what wants a look, what is bad: `loadtune doctor` in values."""
