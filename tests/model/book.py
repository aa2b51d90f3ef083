"""All rules by name, and doing one step."""

from tests.model import rules_of_dying, rules_of_intake, rules_of_sending, rules_of_time
from tests.model.picks import Pick
from tests.model.rules import Rule, Step
from tests.model.world import World

RULES = {
    found.name: found
    for module in (rules_of_intake, rules_of_sending, rules_of_dying, rules_of_time)
    for found in vars(module).values()
    if isinstance(found, Rule)
}


def perform(world: World, step: Step) -> bool:
    """Do *step*; False when there is nobody it can happen to."""
    found = RULES[step.rule]
    subjects = found.subjects(world)
    if not subjects:
        return False
    pick = Pick(step.number)
    world.clock.tick()
    found.act(world, subjects[pick(len(subjects))], pick)
    return True
