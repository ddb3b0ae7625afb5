"""`python -m service`: exit 0 after a signal, 2 when the configuration is wrong."""

import asyncio
import os
import sys

import uvloop

from .app import Application
from .config import ConfigError, load


def main() -> int:
    """Run the service. Returns the exit code."""
    try:
        config = load(os.environ)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(Application(config).run())
    except ConfigError as error:
        sys.stderr.write(f"service: {error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
