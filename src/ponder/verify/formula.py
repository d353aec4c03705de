"""verify/formula: the tree of a mathematical answer in LaTeX or plain notation. Reads only; computes nothing.

Numbers, fractions, roots, powers, functions, sets, tuples, intervals, matrices, ±, equations, units, percentages.
Only ASCII digits are digits. Limits: 2,000 characters, about 40 levels, 400 digits a number, exponents `1e…` up to 400.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

MAX_LENGTH = 2000
MAX_DEPTH = 80
MAX_DIGITS = 400


class FormulaError(ValueError):
    """The text is not in this notation; the message says where."""


class FormulaLimitError(ValueError):
    """The text is over a limit, so that nothing can be said about it; the message says which."""


@dataclass(frozen=True, slots=True)
class Node:
    """One node, e.g. `Node("^", (x, Node("num", number=Fraction(2))))`.

    num, sym, text: leaves. + * / ^ neg pm: arithmetic. fn: a function by name. unit: a value and its unit.
    list: values parted by commas, `name` is `or` where that alone parts them. set. tuple: `name` is its brackets.
    matrix: `name` is its shape. union. rel: sides and, in `name`, the relations between them, parted by spaces.
    """

    op: str
    args: tuple[Node, ...] = ()
    number: Fraction = Fraction(0)
    name: str = ""


FUNCTIONS = frozenset(
    "sin cos tan cot sec csc arcsin arccos arctan sinh cosh tanh ln log lg exp"
    " sqrt abs floor ceil gcd lcm max min det".split()
)
GREEK = frozenset(
    "alpha beta gamma delta epsilon varepsilon zeta eta theta iota kappa lambda mu nu xi rho sigma tau"
    " phi varphi chi psi omega Gamma Delta Theta Lambda Sigma Phi Psi Omega ell".split()
)
RELATIONS = {
    **{"=": "=", "<": "<", ">": ">", "\\le": "<=", "\\leq": "<=", "\\leqslant": "<=", "\\ge": ">="},
    **{"\\geq": ">=", "\\geqslant": ">=", "\\lt": "<", "\\gt": ">", "\\ne": "!=", "\\neq": "!="},
    "\\in": "in",
}
_CONSTANTS = {"\\pi": "pi", "pi": "pi", "\\infty": "oo", "infinity": "oo", "inf": "oo"}
_PLAIN = str.maketrans(
    {
        **dict.fromkeys("−–—﹣", "-"),
        **{"×": "*", "·": "*", "⋅": "*", "÷": "/", "π": "\\pi ", "∞": "\\infty ", "≤": "\\le "},
        **{"≥": "\\ge ", "≠": "\\ne ", "∪": "\\cup ", "∈": "\\in ", "±": "\\pm ", "√": "\\sqrt "},
        **{
            "（": "(",
            "）": ")",
            "，": ",",
            "、": ",",
            "；": ";",
            "＝": "=",
            "°": "^\\circ ",
            "％": "%",
        },
        **{"²": "^{2}", "³": "^{3}", "½": "\\frac12 ", "¼": "\\frac14 ", "¾": "\\frac34 "},
        **{"\u00a0": " ", "\u2009": " ", "，": ",", "。": "", "€": "", "£": "", "¥": "", "￥": ""},
    }
)
_DROPPED = re.compile(
    r"(?<!\\)\\(?:left|right|[bB]igg?[lr]?|displaystyle|textstyle|limits|quad|qquad|hspace\{[^{}]*\}|rm|bf)(?![A-Za-z])"
    r"|(?<!\\)\\[,;:! $()\[\]]|\$|~"
)
_TEXT = re.compile(
    r"\\(?:text|textbf|textit|textrm|mathrm|mathbf|mathit|mbox|operatorname) *\{([^{}]*)\}"
)
_NUMBER = re.compile(r"(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+(?![A-Za-z]))?", re.ASCII)
_GROUPED = re.compile(r"(?<![0-9.,])[0-9]{1,3}(?:,[0-9]{3})+(?![0-9,])", re.ASCII)
_SPACED = re.compile(r"-?[0-9]{1,3}(?: +[0-9]{3})+(?:\.[0-9]+)?", re.ASCII)
_REPEATING = re.compile(
    r"([0-9]{0,40})\.([0-9]{0,40})\\(?:overline|bar) *\{?([0-9]{1,40})\}?", re.ASCII
)
_REALS = re.compile(
    r"\\mathbb *(?:R|\{ *R *\})(?! *[\^{+-])|(?:\\text *\{ *)?\ball real numbers\b(?: *\})?"
)
_MIXED = re.compile(r"(?<![0-9./^_])([0-9]+) +([0-9]+) *(?:/ *|\\frac)([0-9]+)(?![0-9.])", re.ASCII)
_TOKEN = re.compile(r"\\[A-Za-z]+|\\[{}|%]|\\\\|[A-Za-z]+|[-+*/^_!(){}\[\]|,;:<>=%&']", re.ASCII)
_NO_UNIT = (
    r"(?:or|and|not|no|nor|but|is|if|maybe|perhaps|either|pi|sqrt|infinity|inf|zero|one|two|three|four|five|six|seven"
    r"|eight|nine|ten|eleven|twelve)\b"
)
"""Words that say something else of a value than its unit, e.g. a second value."""
_UNIT_WORD = rf"(?!{_NO_UNIT})(?:[A-Za-z]{{2,}}|[mgslh]\b)\.?"
_UNIT = re.compile(
    rf"(?<=[0-9}})]) +({_UNIT_WORD}(?:(?: +| */ *){_UNIT_WORD})*(?: *\^ *(?:[23]|\{{[23]\}}))?)$"
    r"|(?<=[0-9}) ])((?:cm|mm|km|kg|mg|ml|mph|ft|hrs?|mins?|lbs?)(?:\^(?:[23]|\{[23]\}))?)$"
    r"|(?<=[0-9}) ])([\u4e00-\u9fff]+)$"
)


def read_formula(text: str) -> Node:
    """The tree of one answer. Raises FormulaError or FormulaLimitError."""
    if len(text) > MAX_LENGTH:
        raise FormulaLimitError(f"longer than {MAX_LENGTH} characters")
    return _Reader(_tidy(text)).whole()


def _tidy(text: str) -> str:
    """Spacing, delimiters and type-setting commands dropped; Unicode signs as LaTeX; grouping commas closed."""
    text = _DROPPED.sub(
        " ",
        text.strip().translate(_PLAIN).replace("{,}", ",").replace(",\\!", ",").replace("**", "^"),
    )
    text = re.sub(r"\\(?:text|math)[a-z]* *\{ *\(?(-?[0-9][0-9.,/]*)\)? *\}", r" \1 ", text)
    text = re.sub(r"^\s*\\text *\{(-?[0-9][^{}]*)\}\s*$", r"\1", text)
    text = re.sub(r"\\[dtc]frac(?![A-Za-z])", r"\\frac", text)
    text = re.sub(r"\^ *(?:\\circ|\{ *\\circ *\})|\\degrees?(?![A-Za-z])", r"\\deg ", text)
    text = re.sub(r"\\%", "%", text).strip().rstrip(".").rstrip()
    text = re.sub(r"(?<=[0-9])\.(?=\s*(?:\\text|$))", "", text)
    text = re.sub(r"\.(?=\}+$)", "", text)
    text = _REPEATING.sub(_repeating, _REALS.sub(r"(-\\infty,\\infty)", text))
    text = text.replace(" ", "") if _SPACED.fullmatch(text) else text
    if not re.search(r"[(\[]|\\\{", text) or _GROUPED.fullmatch(text.strip("{} ")):
        text = _GROUPED.sub(lambda found: found[0].replace(",", ""), text)
    return _MIXED.sub(r"(\1+\2/\3)", text)


def _repeating(found: re.Match[str]) -> str:
    """`1.2\\overline{3}` as a fraction."""
    whole, fixed, again = found.groups()
    top = int(whole + fixed + again) - int(whole + fixed or 0)
    return f"(\\frac{{{top}}}{{{(10 ** len(again) - 1) * 10 ** len(fixed)}}})"


class _Reader:
    """A recursive descent over the text itself, because `\\frac12` has no tokens."""

    def __init__(self, text: str) -> None:
        unit = _UNIT.search(text)
        self.text = text[: unit.start()] if unit else text
        self.unit = next((part for part in unit.groups() if part), "") if unit else ""
        self.at = 0
        self.depth = 0
        self.bars = 0

    def whole(self) -> Node:
        node = self.values("")
        if self.peek():
            raise FormulaError(f"unexpected {self.text[self.at : self.at + 12].strip()!r}")
        return Node("unit", (node,), name=self.unit) if self.unit else node

    def peek(self) -> str:
        """The next token without taking it; a number gives its first digit."""
        while self.at < len(self.text) and self.text[self.at].isspace():
            self.at += 1
        if self.at >= len(self.text):
            return ""
        if self.text[self.at] in "0123456789.":
            return "0"
        token = _TOKEN.match(self.text, self.at)
        if token is None:
            raise FormulaError(f"unexpected {self.text[self.at]!r}")
        return token[0]

    def take(self, token: str) -> bool:
        if self.peek() != token or token == "0":
            return False
        self.at += len(token)
        return True

    def need(self, *tokens: str) -> str:
        for token in tokens:
            if self.take(token):
                return token
        raise FormulaError(f"{' or '.join(tokens)} is missing at {self.text[self.at :][:12]!r}")

    def values(self, end: str) -> Node:
        """Values parted by commas, `or`, `and`, up to a closing bracket."""
        found, marks = [self.relation()], set[str]()
        while mark := self.separator():
            if self.peek() in ("", end):
                break
            marks.add(mark)
            found.append(self.relation())
        name = "or" if marks == {"or"} else ""
        return found[0] if len(found) == 1 else Node("list", tuple(found), name=name)

    def separator(self) -> str:
        """The mark or word that parts two values; empty where none stands."""
        if any(self.take(mark) for mark in (",", ";")):
            return self.separator() or ","
        word = _TEXT.match(self.text, self.at)
        if word and (said := word[1].strip().strip(",")) in ("or", "and"):
            self.at = word.end()
            return said
        return next((word for word in ("or", "and") if self.take(word)), "")

    def relation(self) -> Node:
        sides, between = [self.union()], list[str]()
        while (token := self.peek()) in RELATIONS:
            self.take(token)
            between.append(RELATIONS[token])
            sides.append(self.union())
        return sides[0] if not between else Node("rel", tuple(sides), name=" ".join(between))

    def union(self) -> Node:
        parts = [self.sum()]
        while self.take("\\cup"):
            parts.append(self.sum())
        return parts[0] if len(parts) == 1 else Node("union", tuple(parts))

    def sum(self) -> Node:
        node = self.product()
        while True:
            if self.take("+"):
                node = Node("+", (node, self.product()))
            elif self.take("-"):
                node = Node("+", (node, Node("neg", (self.product(),))))
            elif self.take("\\pm"):
                node = Node("pm", (node, self.product()))
            else:
                return node

    def product(self) -> Node:
        node = self.signed()
        while True:
            if any(self.take(sign) for sign in ("*", "\\cdot", "\\times", "\\ast")):
                node = Node("*", (node, self.signed()))
            elif any(self.take(sign) for sign in ("/", "\\div")):
                node = Node("/", (node, self.signed()))
            elif self.starts_factor():
                before, mixed = node, self.peek() == "\\frac" and _is_whole(node)
                right = self.power()
                mixed = mixed and right.op == "/" and all(_is_whole(part) for part in right.args)
                node = Node("+" if mixed else "*", (before, right))
            else:
                return node

    def starts_factor(self) -> bool:
        """Whether a factor follows without a sign; two bare numbers side by side are no product."""
        if self.text_ahead():
            return False
        token = self.peek()
        if token == "|":
            return not self.bars
        if token.isalpha():
            return token not in ("or", "and")
        known = {"\\frac", "\\sqrt", "\\binom", "\\lfloor", "\\lceil", "\\log", *_CONSTANTS}
        return token in ("(", "{") or token in known or token[1:] in GREEK | FUNCTIONS

    def text_ahead(self) -> re.Match[str] | None:
        self.peek()
        return _TEXT.match(self.text, self.at)

    def signed(self) -> Node:
        self.deeper()
        if self.take("-"):
            node = Node("neg", (self.signed(),))
        elif self.take("\\pm"):
            node = Node("pm", (Node("num"), self.signed()))
        else:
            self.take("+")
            node = self.power()
        self.depth -= 1
        return node

    def power(self) -> Node:
        node = self.atom()
        while True:
            if self.take("!"):
                node = Node("fn", (node,), name="factorial")
            elif self.take("%"):
                node = Node("unit", (node,), name="%")
            elif self.take("\\deg"):
                node = Node("unit", (node,), name="degree")
            elif self.take("'"):
                node = Node("sym", name=f"{node.name}'")
            elif self.take("_"):
                node = self.subscript(node)
            elif self.take("^"):
                node = Node("^", (node, self.argument() if self.peek() == "{" else self.signed()))
            elif (text := self.text_ahead()) and text[1].strip().strip(",") not in ("or", "and"):
                self.at = text.end()
                squared = re.compile(r" *\^ *(?:[23]|\{[23]\})").match(self.text, self.at)
                self.at = squared.end() if squared else self.at
                if re.search(rf"[0-9,;=]|\b{_NO_UNIT}", text[1].strip(" ,"), re.IGNORECASE):
                    raise FormulaError(f"no unit: {text[1].strip()!r}")
                node = Node("unit", (node,), name=text[1] + (squared[0] if squared else ""))
            else:
                return node

    def subscript(self, node: Node) -> Node:
        """The index of a symbol, or the base of a numeral."""
        index = self.argument()
        if node.op == "num":
            return Node("unit", (node,), name=f"base {index.number or index.name}")
        label = index.name or str(index.number)
        if node.op != "sym" or index.args:
            raise FormulaError("an index that is neither a name nor a number")
        return Node("sym", name=f"{node.name}_{label}")

    def argument(self) -> Node:
        """`{…}`, one digit, or one atom: what a command takes."""
        if self.take("{"):
            node = self.values("}")
            self.need("}")
            return node
        if self.peek() == "0":
            digit = self.text[self.at]
            self.at += 1
            if not digit.isdigit():
                raise FormulaError("a point where a number is wanted")
            return Node("num", number=Fraction(digit))
        return self.atom()

    def deeper(self) -> None:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise FormulaLimitError("nested too deeply")

    def atom(self) -> Node:
        self.deeper()
        node = self.operand()
        self.depth -= 1
        return node

    def operand(self) -> Node:
        if text := self.text_ahead():
            self.at = text.end()
            parts = [part.strip() for part in re.split(r"[,;]|\band\b|\bor\b", text[1])]
            words = [Node("sym" if len(part) == 1 else "text", name=part) for part in parts if part]
            return words[0] if len(words) == 1 else Node("list" if words else "text", tuple(words))
        token = self.peek()
        if token == "0":
            return self.number()
        if token in _CONSTANTS:
            self.take(token)
            return Node("sym", name=_CONSTANTS[token])
        if token.lstrip("\\") in FUNCTIONS:
            self.take(token)
            return self.function(token.lstrip("\\"))
        if token.isalpha():
            return self.letters(token)
        if token[1:] in GREEK:
            self.take(token)
            return Node("sym", name=token[1:])
        return self.bracketed(token)

    def number(self) -> Node:
        found = _NUMBER.match(self.text, self.at)
        if found is None or len(found[0]) > MAX_DIGITS:
            raise (
                FormulaLimitError(f"a number longer than {MAX_DIGITS} digits")
                if found
                else FormulaError("a lone point")
            )
        exponent = re.search(r"[eE]([-+]?[0-9]+)$", found[0])
        if exponent and (len(exponent[1]) > 4 or abs(int(exponent[1])) > MAX_DIGITS):
            raise FormulaLimitError(f"an exponent beyond {MAX_DIGITS}")
        self.at = found.end()
        return Node("num", number=Fraction(found[0]))

    def letters(self, token: str) -> Node:
        """One letter is a symbol; up to three are a product of symbols; more are a word."""
        if len(token) > 3:
            raise FormulaError(f"the word {token!r}")
        self.at += 1
        return Node("sym", name=token[0])

    def function(self, name: str) -> Node:
        extra: tuple[Node, ...] = ()
        exponent: Node | None = None
        if name == "sqrt" and self.take("["):
            extra = (self.values("]"),)
            self.need("]")
        if name == "log" and self.take("_"):
            extra = (self.argument(),)
        if self.take("^"):
            exponent = self.argument()
        if self.peek() in ("(", "{"):
            close = {"(": ")", "{": "}"}[self.peek()]
            self.at += 1
            inner = self.values(close)
            self.need(close)
        else:
            inner = self.power()
            while (
                name != "sqrt"
                and self.starts_factor()
                and self.peek().lstrip("\\") not in FUNCTIONS
            ):
                inner = Node("*", (inner, self.power()))
        args = inner.args if inner.op == "list" else (inner,)
        node = Node("fn", (*args, *extra), name=name)
        return Node("^", (node, exponent)) if exponent else node

    def bracketed(self, token: str) -> Node:
        self.at += len(token)
        if token in ("\\frac", "\\binom"):
            pair = (self.argument(), self.argument())
            return Node("/", pair) if token == "\\frac" else Node("fn", pair, name="binom")
        if token in ("\\overline", "\\mathbb", "\\mathcal", "\\vec", "\\bar", "\\hat"):
            inner = self.argument()
            return Node("sym", name=f"{token[1:]} {inner.name}" if inner.name else token[1:])
        if token in ("\\emptyset", "\\varnothing"):
            return Node("set")
        if token == "\\begin":
            return self.matrix()
        if token == "{":
            inner = self.values("}")
            self.need("}")
            return inner
        if token in ("\\lfloor", "\\lceil"):
            inner = self.sum()
            self.need(token.replace("l", "r", 1))
            return Node("fn", (inner,), name="floor" if token == "\\lfloor" else "ceil")
        if token == "|":
            self.bars += 1
            inner = self.sum()
            self.need("|")
            self.bars -= 1
            return Node("fn", (inner,), name="abs")
        if token == "\\{":
            return self.braces()
        if token not in ("(", "["):
            raise FormulaError(f"unexpected {token!r}" if token else "ends too early")
        bars, self.bars = self.bars, 0
        inner = self.values("")
        close, self.bars = self.need(")", "]"), bars
        if inner.op == "list":
            return Node("tuple", inner.args, name=token + close)
        if token + close != "()":
            return Node("tuple", (inner,), name=token + close)
        return inner

    def braces(self) -> Node:
        """`\\{a, b\\}`, or `\\{x | condition\\}`, which is its condition."""
        if self.take("\\}"):
            return Node("set")
        self.bars += 1
        inner = self.values("\\}")
        self.bars -= 1
        if any(self.take(mark) for mark in ("|", ":", "\\mid")):
            inner = self.values("\\}")
            self.need("\\}")
            return inner
        self.need("\\}")
        return Node("set", tuple(dict.fromkeys(inner.args)) if inner.op == "list" else (inner,))

    def matrix(self) -> Node:
        kind = re.compile(r" *\{([bpvBV]?matrix|array)\}(?: *\{[lcr|]*\})?").match(
            self.text, self.at
        )
        if kind is None:
            raise FormulaError("an environment that is no matrix")
        self.at = kind.end()
        rows: list[list[Node]] = [[]]
        while not self.take("\\end"):
            rows[-1].append(self.sum())
            if self.take("\\\\"):
                rows.append([])
            elif not self.take("&") and self.peek() != "\\end":
                raise FormulaError("a matrix that is not closed")
        self.argument_name()
        rows = [row for row in rows if row]
        if not rows or len({len(row) for row in rows}) != 1:
            raise FormulaError("rows of different lengths")
        cells = tuple(cell for row in rows for cell in row)
        return Node("matrix", cells, name=f"{len(rows)}x{len(rows[0])}")

    def argument_name(self) -> None:
        name = re.compile(r" *\{[A-Za-z]+\}").match(self.text, self.at)
        self.at = name.end() if name else self.at


def _is_whole(node: Node) -> bool:
    return node.op == "num" and node.number.denominator == 1
