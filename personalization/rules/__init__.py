"""The rule language: a SQL condition over the customer profile and behaviour, checked, compiled, explained.

    rules = program_rules(program)                    # parse and type every rule; all mistakes at once
    sql = evaluation_query(rules.segments, as_of, segments=rules.segments)
    print(explain(rules.segments["lapsing"], gather_facts(session, [rules.segments["lapsing"]], as_of, token)))

About each person a rule is true, false or undecided. A comparison with a missing value is undecided, `false AND
undecided` is false, `true OR undecided` is true, NOT leaves it undecided. What undecided people get is the rule's
`unknown`: exclude (default), include, or hold. docs/write-a-segment.md is the user's page.
"""

from personalization.rules.catalog import Catalog
from personalization.rules.compile import evaluation_query
from personalization.rules.explain import Facts, Trace, evaluate_value, explain, gather_facts
from personalization.rules.order import cycles, levels, needed
from personalization.rules.parse import Rule, Value, parse_rule, parse_value
from personalization.rules.problems import Origin, RuleError
from personalization.rules.program import ProgramRules, check_program, program_rules, rule_origin
from personalization.rules.words import describe

__all__ = [
    "Catalog",
    "Facts",
    "Origin",
    "ProgramRules",
    "Rule",
    "RuleError",
    "Trace",
    "Value",
    "check_program",
    "cycles",
    "describe",
    "evaluate_value",
    "evaluation_query",
    "explain",
    "gather_facts",
    "levels",
    "needed",
    "parse_rule",
    "parse_value",
    "program_rules",
    "rule_origin",
]
