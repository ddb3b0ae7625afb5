"""How to start the parts of an environment: one module a stack."""
