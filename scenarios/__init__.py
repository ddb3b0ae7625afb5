"""The scenarios that ship with the harness: one file each, grouped by subject.

Every file holds a ``SCENARIO``: a claim in one sentence, as data.
"""
