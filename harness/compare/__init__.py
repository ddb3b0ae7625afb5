"""Compare: two stored runs, or two suites scenario by scenario, side by side, with what got worse beyond noise.

``sides`` finds and pairs what is compared, ``profile`` reads what each run measured, ``rows`` and ``judging`` say what
became of it, ``shown`` is its text and JSON, ``command`` the command.
"""
