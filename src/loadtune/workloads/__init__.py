"""Built-in targets: data made locally in the real formats, read by the real readers."""
