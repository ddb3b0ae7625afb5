"""The harness against services that are broken on purpose."""
