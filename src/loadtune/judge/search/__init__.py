"""Which configuration is tried next: the adaptive search, in the modules of its parts, and Optuna's."""
