"""`python -m tests.selftest.defects NAME`: the service with that defect; `--list` names them all, also as `--json`."""

import json
import sys

from service.app import main as run_service

from . import DEFECTS


def main(arguments: list[str]) -> int:
    """Plant one defect and run the service. Returns its exit code, 2 for a wrong name."""
    if arguments == ["--list"]:
        for one in DEFECTS.values():
            print(f"{one.name}\tpromise {one.promise}\t{one.description}")
        return 0
    if arguments == ["--json"]:
        print(json.dumps([one.to_json() for one in DEFECTS.values()], indent=2))
        return 0
    if len(arguments) != 1 or arguments[0] not in DEFECTS:
        print(f"usage: python -m tests.selftest.defects NAME, one of: {', '.join(sorted(DEFECTS))}", file=sys.stderr)
        return 2
    DEFECTS[arguments[0]].plant()
    return run_service()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
