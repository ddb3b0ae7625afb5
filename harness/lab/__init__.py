"""Lab: an environment that stays up while a human plays the schedule, from as many terminals as there are.

``harness lab up`` starts a daemon, which holds what a run holds: environment, history, ledger, nemesis, samplers.
Every other command is a client: it finds the daemon by :mod:`.state`, and says one request of :mod:`.protocol` over a
Unix domain socket.  :mod:`.live` is what the daemon does with them.
"""
