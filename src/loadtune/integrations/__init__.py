"""loadtune inside other tools: one module an ecosystem, each imported only by who uses it."""
