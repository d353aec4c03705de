"""tasks/words: our own lists of names and things."""

from __future__ import annotations

NAMES = tuple(
    "Ann Bob Cid Dan Eve Fay Gus Hal Ida Jon Kim Leo Mia Ned Oda Pia Ray Sam Tom Uma Val Wes Zoe Amy Ben Cal Deb Eli "
    "Fred Gina Hugo Iris Jack Kate Liam Mary Nora Omar Paul Rosa Sara Tina Vera Will Yara Adam Beth Carl Dora Emma "
    "Finn Greta Hans Ivan Jane Karl Lena Max Nina Otto Peter Ruth Simon Theo Ursula Victor Wendy Alice Bruno Clara "
    "David Elena Frank Grace Henry Irene James Laura Mark Olga Rita Susan Tara Lucy Maria Anna".split()
)
THINGS = tuple(
    "apples pears plums books pens cups coins cards balls stamps marbles stickers cookies shells stones keys hats "
    "boxes bottles candles buttons ribbons pencils eggs lemons oranges peaches cherries nuts beads toys cars boats "
    "kites dolls spoons forks plates bags socks roses tulips leaves sticks bricks nails screws lamps chairs photos "
    "letters tickets badges rings bells flags ropes tapes crayons erasers muffins buns cakes pies".split()
)
WARES = tuple(
    "apple pear pen cup book ball toy hat card cake bun pie lamp ring bell kite doll ticket "
    "candle notebook melon".split()
)
GROUPS = tuple("boxes bags baskets shelves rows trays packs jars drawers bowls".split())
PLURALS = {
    "apple": "apples", "pear": "pears", "pen": "pens", "cup": "cups", "book": "books", "ball": "balls", "toy": "toys",
    "hat": "hats", "card": "cards", "cake": "cakes", "bun": "buns", "pie": "pies", "lamp": "lamps", "ring": "rings",
    "bell": "bells", "kite": "kites", "doll": "dolls", "ticket": "tickets", "candle": "candles",
    "notebook": "notebooks", "melon": "melons",
}  # fmt: skip
