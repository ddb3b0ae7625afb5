"""Documentation that is generated, checked or run."""
