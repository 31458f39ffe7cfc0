"""Random walks through state machines."""

from __future__ import annotations

from typing import cast

from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test


def walk(machine: type[RuleBasedStateMachine], rules: settings | None = None) -> None:
    """Fails with the shortest walk that breaks a rule."""

    # Hypothesis reads the source of what it is given. A class is found in its file by parsing it all, which a garbage
    # collection in the midst makes fail on Python 3.11 (gh-106905); a function is not.
    def made() -> RuleBasedStateMachine:
        return machine()

    run_state_machine_as_test(cast("type[RuleBasedStateMachine]", made), settings=rules)
