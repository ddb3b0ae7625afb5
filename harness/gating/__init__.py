"""The release gate: success metrics and a user's own SLOs, from stored runs and from a Prometheus, and the decision.

``config`` reads gate.toml; ``runs`` and ``prometheus`` measure, ``rows`` judges what they measured, ``findings`` says
which broken promises are known, ``outcome`` puts it together, ``show`` prints it (docs/how-to/gate.md).
"""
