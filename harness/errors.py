"""Every error that the harness raises on purpose.

::

    HarnessError
    ├── UsageError               the caller asked for something impossible          exit 2
    │   ├── TargetError          a target.toml that cannot be understood            exit 2
    │   └── ScenarioError        an unknown scenario, or one the target cannot run  exit 2
    ├── SetupError               an environment could not be brought up             exit 2
    │   ├── ServiceEnded         the service ended by itself while it started       exit 2
    │   └── SteadyStateError     it came up, but was not healthy before the fault   exit 2
    ├── FaultError
    │   ├── FaultNotConfirmed    the fault did not bite: the run is UNKNOWN         exit 3
    │   └── HealFailed           the damage could not be undone                     exit 1
    ├── RunAborted               a halt file or an abort condition ended the run    exit 3
    ├── LedgerBusy               another process holds the ledger's lock            exit 2
    ├── LabError                 a lab did not do what it was asked, or is gone     exit 2, or as the lab says
    ├── HistoryError             a stored run cannot be read                        exit 2
    ├── QueryFailed              a Prometheus could not answer a question           exit 3
    ├── Defect                   the harness itself failed: nothing was decided     exit 3
    └── DeadlineExceeded         a condition did not come true in time

The message is one paragraph: what happened, where, and what to do next.
"""


class HarnessError(Exception):
    """Root of the tree; ``exit_code`` is what the command line ends with when nothing catches it."""

    exit_code = 2


class UsageError(HarnessError):
    """The command line, a name or a file given by the user is wrong."""


class TargetError(UsageError):
    """A ``target.toml`` is malformed or incomplete; names the file, the key and the remedy."""


class ScenarioError(UsageError):
    """A scenario is unknown, invalid, or needs what the target lacks."""


class SetupError(HarnessError):
    """An environment could not be started; names the part, the reason and the remedy."""


class ServiceEnded(SetupError):
    """The process of the service ended by itself before it listened: after a fault that is the failure of its own."""


class SteadyStateError(SetupError):
    """The environment started but was not healthy before any fault: nothing can be judged."""


class FaultError(HarnessError):
    """A fault could not be played."""

    exit_code = 3


class FaultNotConfirmed(FaultError):
    """The fault was injected, but its effect was not seen: a verdict would mean nothing."""


class HealFailed(FaultError):
    """The damage is still there after heal; names what is left."""

    exit_code = 1


class RunAborted(HarnessError):
    """A run was ended, and its faults healed, because going on was no longer safe or wanted."""

    exit_code = 3


class LedgerBusy(HarnessError):
    """Another process holds the ledger's lock: its own run (``running``), or somebody who heals it."""

    def __init__(self, message: str, *, running: bool) -> None:
        """Keep which of the two it is."""
        super().__init__(message)
        self.running = running


class LabError(HarnessError):
    """A lab did not do what it was asked, does not answer, or was not understood."""

    def __init__(self, message: str, exit_code: int = 2) -> None:
        """Keep the exit code that the lab's own error has."""
        super().__init__(message)
        self.exit_code = exit_code


class HistoryError(HarnessError):
    """A stored run is missing or cannot be read."""


class QueryFailed(HarnessError):
    """A Prometheus that is there could not answer one question, so that what was asked is not known."""

    exit_code = 3


class Defect(HarnessError):
    """The harness itself failed by what nobody foresaw: nothing was decided, least of all that a promise is broken."""

    exit_code = 3


class DeadlineExceeded(HarnessError):
    """A condition did not come true before its deadline."""

    exit_code = 3
