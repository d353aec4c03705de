"""tasks/reading_words: what passages and tables tell, in our own sentences, with the words they are filled from."""

from __future__ import annotations

from dataclasses import dataclass

PETS = (
    "dog cat goat hen horse rabbit parrot turtle donkey duck goose sheep pony hamster crow owl snail lizard frog mouse "
    "pigeon ferret hedgehog swan bee"
).split()
JOBS = (
    "baker miller smith teacher nurse farmer sailor painter carpenter weaver potter gardener fisher guide cook tailor "
    "printer driver singer shepherd mason clerk pilot judge dentist"
).split()
COLOURS = (
    "red blue green yellow white black brown grey purple pink orange silver gold violet".split()
)
FILLERS = (
    "It was a warm day.", "The market opens early.", "Nobody knew the old song.", "The road was dry.",
    "A cold wind came from the hills.", "Most shops close at noon.", "The bridge is made of stone.",
    "Many people came to the fair.", "The winter was long.", "Rain fell all week.", "The bells rang twice.",
    "There was bread and soup for all.", "The boats were late.", "The school has a new roof.",
)  # fmt: skip
HINTS = (
    "",
    "",
    "If the text does not say it, answer: not stated. ",
    "When it is not said, write not stated. ",
)


@dataclass(frozen=True, slots=True)
class Relation:
    """What is told of a subject: {x} the subject, {y} the value."""

    name: str
    """Also the head of a table's column."""
    of: str
    """Kind of the subject: person or town."""
    gives: str
    """Kind of the value: person, town, number, or a word list's name."""
    tells: tuple[str, ...]
    asks: tuple[str, ...]
    phrase: str = ""
    """The value as part of another question, when it can be asked about."""


RELATIONS = {
    relation.name: relation
    for relation in (
        Relation("town", "person", "town",
                 ("{x} lives in {y}.", "{x} has a house in {y}.", "The home of {x} is in {y}."),
                 ("Where does {x} live?", "In which town does {x} live?"), "the town where {x} lives"),
        Relation("friend", "person", "person", ("The best friend of {x} is {y}.", "{x} has a friend named {y}."),
                 ("Who is the friend of {x}?", "What is the name of the friend of {x}?"), "the friend of {x}"),
        Relation("pet", "person", "pet", ("{x} keeps a pet {y}.", "The pet of {x} is a {y}."),
                 ("What pet does {x} have?", "Which animal does {x} keep?")),
        Relation("job", "person", "job", ("{x} works as a {y}.", "By trade {x} is a {y}."),
                 ("What is the job of {x}?", "What does {x} work as?")),
        Relation("colour", "person", "colour", ("{x} likes the colour {y}.", "{x} wears a {y} coat."),
                 ("Which colour is told of {x}?", "What is the colour of {x}?")),
        Relation("age", "person", "number", ("{x} is {y} years old.", "The age of {x} is {y}."),
                 ("How old is {x}?", "What is the age of {x}?")),
        Relation("coins", "person", "number", ("{x} has {y} coins.", "{x} saved {y} coins."),
                 ("How many coins does {x} have?", "How many coins are there in the purse of {x}?")),
        Relation("river", "town", "name", ("The river {y} flows through {x}.", "{x} lies on the river {y}."),
                 ("Which river flows through {x}?", "What is the river of {x}?")),
        Relation("mayor", "town", "person", ("The mayor of {x} is {y}.", "{x} has a mayor named {y}."),
                 ("Who is the mayor of {x}?", "What is the name of the mayor of {x}?"), "the mayor of {x}"),
        Relation("tower", "town", "number", ("The tower of {x} is {y} feet high.", "{x} has a tower of {y} feet."),
                 ("How high is the tower of {x}?", "How many feet high is the tower of {x}?")),
        Relation("ware", "town", "thing", ("{x} is known for its {y}.", "People go to {x} to buy {y}."),
                 ("What is {x} known for?", "What do people buy in {x}?")),
    )
}  # fmt: skip
COLUMNS = ("town", "pet", "job", "colour", "age", "coins")
