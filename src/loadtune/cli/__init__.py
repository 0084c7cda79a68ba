"""The command line: one module a verb, errors to exit codes in one place."""
