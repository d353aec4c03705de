"""tasks/story_templates: the texts of the short word problems, each with the steps that solve it.

A step is (left, operator, right); letters are the story's numbers, digits are results of earlier steps.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Story:
    """One story: its wordings, its numbers, its steps and a two-word reason for each step."""

    texts: tuple[str, ...]
    keys: str
    steps: tuple[tuple[str, str, str], ...]
    reasons: tuple[str, ...]
    small: str = ""
    """Numbers that stay below ten: counts of groups, prices."""
    multiples: dict[str, tuple[str, str]] = field(default_factory=dict[str, tuple[str, str]])
    """Numbers made as the product of two drawn ones, so that a sharing comes out even."""


TEMPLATES: tuple[Story, ...] = (
    Story(("{A} has {a} {things}. {B} gives {A} {b} more. How many {things} does {A} have now?",
           "{A} had {a} {things} and found {b} more. How many {things} does {A} have now?",
           "There are {a} {things} on the table. {A} adds {b} more. How many {things} are there now?"),
          "ab", (("a", "+", "b"),), ("more",)),
    Story(("{A} has {a} {things}. {A} gives {b} {things} to {B}. How many {things} does {A} have left?",
           "{A} had {a} {things} and lost {b} of them. How many {things} are left?",
           "There were {a} {things} in a box. {A} took {b} of them. How many {things} are left?"),
          "ab", (("a", "-", "b"),), ("left",)),
    Story(("{A} has {a} {things} and {B} has {b} {things}. How many {things} do they have together?",
           "{A} has {a} {things}. {B} has {b} {things}. How many {things} do they have in all?"),
          "ab", (("a", "+", "b"),), ("together",)),
    Story(("{A} has {a} {things} and {B} has {b} {things}. How many more {things} does {A} have than {B}?",
           "{A} has {a} {things}. {B} has {b} {things}. How many fewer {things} does {B} have than {A}?"),
          "ab", (("a", "-", "b"),), ("difference",)),
    Story(("There are {a} {groups} with {b} {things} each. How many {things} are there in all?",
           "{A} has {a} {groups}. Each {group} holds {b} {things}. How many {things} does {A} have?",
           "{A} fills {a} {groups} with {b} {things} each. How many {things} does {A} need?"),
          "ab", (("a", "*", "b"),), ("in all",), small="a"),
    Story(("A {ware} costs {a} dollars. How much do {b} {wares} cost?",
           "{A} buys {b} {wares} for {a} dollars each. How much does {A} pay?",
           "One {ware} costs {a} coins. {A} buys {b} {wares}. How many coins does {A} pay?"),
          "ab", (("a", "*", "b"),), ("cost",), small="ab"),
    Story(("{A} shares {c} {things} equally among {a} friends. How many {things} does each friend get?",
           "{c} {things} are put into {a} {groups} equally. How many {things} are in each {group}?"),
          "ab", (("c", "/", "a"),), ("each",), small="ab", multiples={"c": ("a", "b")}),
    Story(("{A} buys {a} {wares} for {b} dollars each and pays with {c} dollars. How much change does {A} get?",
           "A {ware} costs {b} dollars. {A} buys {a} {wares} and pays with {c} dollars. How much change is there?",
           "{A} has {c} dollars and buys {a} {wares} at {b} dollars each. How many dollars are left?"),
          "abc", (("a", "*", "b"), ("c", "-", "0")), ("cost", "change"), small="ab"),
    Story(("{A} has {a} {things}. {B} has {b} more {things} than {A}. How many {things} do they have together?",
           "{A} found {a} {things}. {B} found {b} more than {A}. How many {things} did they find in all?"),
          "ab", (("a", "+", "b"), ("a", "+", "0")), ("other", "together")),
    Story(("{A} has {a} {things}. {B} has {b} fewer {things} than {A}. How many {things} do they have together?",
           "{A} found {a} {things}. {B} found {b} fewer than {A}. How many {things} did they find in all?"),
          "ab", (("a", "-", "b"), ("a", "+", "0")), ("other", "together")),
    Story(("{A} has {a} {groups} with {b} {things} each and {c} more {things}. How many {things} does {A} have?",
           "There are {a} {groups} of {b} {things} and {c} loose {things}. How many {things} are there?"),
          "abc", (("a", "*", "b"), ("0", "+", "c")), ("groups", "more"), small="ab"),
    Story(("{A} has {a} {groups} with {b} {things} each. {A} gives away {c} {things}. How many {things} are left?",
           "{A} packs {a} {groups} with {b} {things} each and sells {c} {things}. How many {things} are left?"),
          "abc", (("a", "*", "b"), ("0", "-", "c")), ("groups", "left"), small="ab"),
    Story(("{A} had {a} {things}, got {b} more and gave away {c}. How many {things} does {A} have now?",
           "There were {a} {things}. {A} brought {b} more and {B} took {c}. How many {things} are there now?"),
          "abc", (("a", "+", "b"), ("0", "-", "c")), ("more", "left")),
    Story(("{A} had {a} {things}, gave {b} to {B} and lost {c}. How many {things} does {A} have left?",
           "A shop had {a} {things}. It sold {b} in the morning and {c} in the evening. How many are left?"),
          "abc", (("a", "-", "b"), ("0", "-", "c")), ("left", "left")),
    Story(("{A} reads {a} pages every day. How many pages does {A} read in {b} days?",
           "{A} walks {a} miles a day. How many miles does {A} walk in {b} days?",
           "{A} earns {a} dollars an hour. How many dollars does {A} earn in {b} hours?"),
          "ab", (("a", "*", "b"),), ("in all",), small="b"),
    Story(("{A} buys a {ware} for {a} dollars and a book for {b} dollars and pays with {c} dollars. "
           "How much change does {A} get?",
           "A {ware} costs {a} dollars and a bag costs {b} dollars. {A} buys both and pays with {c} dollars. "
           "How much change does {A} get?"),
          "abc", (("a", "+", "b"), ("c", "-", "0")), ("cost", "change")),
    Story(("{A} buys {a} {wares} for {b} dollars each and {c} pens for {d} dollars each. How much does {A} pay?",
           "{A} has {a} {groups} with {b} {things} each and {c} cases with {d} {things} each. "
           "How many {things} does {A} have?"),
          "abcd", (("a", "*", "b"), ("c", "*", "d"), ("0", "+", "1")), ("first", "second", "in all"), small="abcd"),
    Story(("{A} has {c} {things} and puts them into {a} {groups} equally. Then {A} adds {d} {things} to one {group}. "
           "How many {things} are in that {group}?",),
          "abd", (("c", "/", "a"), ("0", "+", "d")), ("each", "more"), small="abd", multiples={"c": ("a", "b")}),
    Story(("{A} has {a} {things}. {B} has {b} times as many. How many {things} does {B} have?",
           "{A} picked {a} {things}. {B} picked {b} times as many. How many {things} did {B} pick?"),
          "ab", (("a", "*", "b"),), ("times",), small="b"),
    Story(("{A} has {a} {things}. {B} has {b} times as many. How many {things} do they have together?",
           "{A} picked {a} {things}. {B} picked {b} times as many. How many {things} did they pick in all?"),
          "ab", (("a", "*", "b"), ("a", "+", "0")), ("times", "together"), small="ab"),
    Story(("{A} wants to save {a} dollars and has {b} dollars. How many more dollars does {A} need?",
           "{A} needs {a} {things} and has {b}. How many more {things} does {A} need?"),
          "ab", (("a", "-", "b"),), ("need",)),
    Story(("{A} has {c} {things} and packs {a} into each {group}. How many {groups} does {A} need?",
           "{A} has {c} {things} and puts {a} on each plate. How many plates does {A} need?"),
          "ab", (("c", "/", "a"),), ("groups",), small="ab", multiples={"c": ("a", "b")}),
    Story(("{A} has {a} {groups} with {b} {things} each and shares them equally among {d} friends. "
           "How many {things} does each friend get?",),
          "abd", (("a", "*", "b"), ("0", "/", "d")), ("in all", "each"), small="abd"),
    Story(("A bus has {a} people. At a stop {b} people get off and {c} people get on. How many people are on the bus?",
           "A train has {a} people. {b} people leave and {c} people enter. How many people are on the train now?"),
          "abc", (("a", "-", "b"), ("0", "+", "c")), ("left", "more")),
)  # fmt: skip
