"""Reports: each reads the typed values of a judged run and writes one format; none of them judges.

Nothing is imported here, since a command that prints a verdict should not load a chart library.
"""
