"""Assess: ship or hold, feature by feature, by what stored runs prove and by nothing else.

``features`` says what each feature has to prove, ``evidence`` what the stored runs say about it, ``drill`` what a
recovery by hand takes, ``inputs`` reads ``assess.toml``, ``shown`` writes it all, ``command`` is the command.
"""
