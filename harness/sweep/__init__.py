"""Sweep: one setting of the service in several sizes, each played and measured, and an answer by a stated rule.

``plan`` says what is asked and how it is stored, ``play`` plays it (``watching`` looks at the CPU meanwhile),
``measuring`` reads the figures of the runs, ``answer`` has the rule, ``page`` and ``shown`` write it, ``sweeping`` puts
them together, ``command`` is the command.
"""
