"""The service under test, as a ``target.toml`` describes it."""
