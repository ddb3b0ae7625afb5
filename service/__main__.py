"""`python -m service`: exit 0 after a signal, 2 when the configuration is wrong."""

from .app import main

raise SystemExit(main())
