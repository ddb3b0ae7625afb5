"""Selftest: the harness judged by services that are broken on purpose, and by one that is not.

A catalogue names the defects; each is played in the scenarios that must reveal it, and the control, which has none, in
the whole suite again and again.  What comes out is a score: how many defects were seen, by the checkers meant for them,
and how many alarms were false.
"""
