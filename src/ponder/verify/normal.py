"""verify/normal: exact normal forms, so that equal values are told from different ones without any search.

A value is a quotient of two polynomials with rational coefficients over square roots of squarefree numbers and symbols
(variables, pi, e, and i with i² = −1): different forms are different values, in both directions. What does not fit (the
sine of 1, a cube root, x to the y) becomes an opaque symbol named by its own normal form; then equal forms are
equal values, but different forms say nothing. Powers, terms and digits are limited: over a limit, FormulaLimitError.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

from ponder.verify.formula import FormulaError, FormulaLimitError, Node

MAX_BITS = 20_000
MAX_TERMS = 300
MAX_POWER = 400
"""Of one term; a tenth of it for a sum."""
_PRIMES_TO = 10_000

Term = tuple[int, tuple[tuple[str, int], ...]]
"""A squarefree number under a root, and the symbols with their powers."""
Poly = dict[Term, Fraction]
_ONE: Term = (1, ())


@dataclass(frozen=True, slots=True)
class Value:
    """numerator / denominator."""

    top: Poly
    bottom: Poly

    @property
    def is_opaque(self) -> bool:
        """True when some part has no normal form, so that a difference proves nothing."""
        terms = [*self.top, *self.bottom]
        return any(name[0] == "«" for _, symbols in terms for name, _ in symbols)

    @property
    def rational(self) -> Fraction | None:
        """The value when it is a rational number."""
        if set(self.top) <= {_ONE} and set(self.bottom) == {_ONE}:
            return self.top.get(_ONE, Fraction(0)) / self.bottom[_ONE]
        return None

    @property
    def key(self) -> str:
        """Equal for equal normal forms."""
        both = [*sorted(self.top.items()), *sorted(self.bottom.items())]
        parts = [f"{c}*{r}*{s}" for (r, s), c in both]
        if len(parts) > 40:
            raise FormulaLimitError("too many terms")
        return "+".join(parts) + f"|{len(self.top)}"


def value_of(node: Node) -> Value:
    """The normal form of an expression. Raises FormulaError (no expression, division by zero) or FormulaLimitError."""
    if node.op == "num":
        return _constant(node.number)
    if node.op == "sym":
        return _symbol(node.name)
    if node.op == "unit":
        degree = _scaled(_symbol("pi"), Fraction(1, 180))
        scale = {"%": _constant(Fraction(1, 100)), "degree": degree}
        if node.name not in scale:
            raise FormulaError(f"a unit inside an expression: {node.name!r}")
        return times(value_of(node.args[0]), scale[node.name])
    args = tuple(value_of(child) for child in node.args)
    if node.op == "neg":
        return _scaled(args[0], Fraction(-1))
    if node.op == "+":
        return plus(args[0], args[1])
    if node.op == "*":
        return times(args[0], args[1])
    if node.op == "/":
        return times(args[0], _inverse(args[1]))
    if node.op == "^":
        return _power(args[0], args[1])
    if node.op == "fn":
        return _function(node.name, args)
    raise FormulaError(f"no expression: {node.op}")


def are_equal(a: Value, b: Value) -> bool | None:
    """Whether two values are the same; None where the normal form does not tell."""
    other = _scale(_product(b.top, a.bottom), Fraction(-1))
    if not _add(_product(a.top, b.bottom), other):
        return True
    return None if a.is_opaque or b.is_opaque else False


def are_proportional(a: Value, b: Value) -> bool | None:
    """Whether a / b is a rational number other than 0: the same equation `… = 0`."""
    left, right = _product(a.top, b.bottom), _product(b.top, a.bottom)
    if set(left) == set(right) and left:
        ratios = {left[term] / right[term] for term in left}
        if len(ratios) == 1:
            return True
    return None if a.is_opaque or b.is_opaque else False


def to_float(value: Value) -> float | None:
    """The value of a real constant, near enough to tell its sign; None for anything else."""
    known = {"pi": math.pi, "e": math.e}
    totals: list[float] = []
    try:
        for poly in (value.top, value.bottom):
            total = 0.0
            for (root, symbols), coefficient in poly.items():
                if any(name not in known for name, _ in symbols):
                    return None
                factor = math.prod(known[name] ** power for name, power in symbols)
                total += float(coefficient) * math.sqrt(root) * factor
            totals.append(total)
        return totals[0] / totals[1]
    except (OverflowError, ZeroDivisionError):
        return None


def plus(a: Value, b: Value) -> Value:
    """a + b."""
    if a.bottom == b.bottom:
        return _made(_add(a.top, b.top), a.bottom)
    return _made(
        _add(_product(a.top, b.bottom), _product(b.top, a.bottom)), _product(a.bottom, b.bottom)
    )


def times(a: Value, b: Value) -> Value:
    """a · b."""
    return _made(_product(a.top, b.top), _product(a.bottom, b.bottom))


def _constant(number: Fraction) -> Value:
    return _polynomial({_ONE: number} if number else {})


def _symbol(name: str) -> Value:
    return _polynomial({(1, ((name, 1),)): Fraction(1)})


def _polynomial(poly: Poly) -> Value:
    return Value(poly, {_ONE: Fraction(1)})


def _scaled(value: Value, factor: Fraction) -> Value:
    return Value(_scale(value.top, factor), value.bottom)


def _scale(poly: Poly, factor: Fraction) -> Poly:
    return {term: coefficient * factor for term, coefficient in poly.items()} if factor else {}


def _add(a: Poly, b: Poly) -> Poly:
    total = dict(a)
    for term, coefficient in b.items():
        total[term] = total.get(term, Fraction(0)) + coefficient
    return {term: coefficient for term, coefficient in total.items() if coefficient}


def _product(a: Poly, b: Poly) -> Poly:
    if len(a) * len(b) > MAX_TERMS:
        raise FormulaLimitError("too many terms")
    total: Poly = {}
    for (root_a, symbols_a), x in a.items():
        for (root_b, symbols_b), y in b.items():
            shared = math.gcd(root_a, root_b)
            powers = dict(symbols_a)
            for name, power in symbols_b:
                powers[name] = powers.get(name, 0) + power
            factor = x * y * shared
            if "i" in powers:
                quarter = powers.pop("i") % 4
                factor = -factor if quarter >= 2 else factor
                powers["i"] = quarter % 2
            symbols = tuple(sorted((name, power) for name, power in powers.items() if power))
            if factor.numerator.bit_length() + factor.denominator.bit_length() > MAX_BITS:
                raise FormulaLimitError("too many digits")
            term = (root_a * root_b // shared**2, symbols)
            total[term] = total.get(term, Fraction(0)) + factor
    return {term: coefficient for term, coefficient in total.items() if coefficient}


def _made(top: Poly, bottom: Poly) -> Value:
    """A denominator of one term moves into the numerator."""
    if not top:
        return _constant(Fraction(0))
    if len(bottom) == 1:
        (((root, symbols), coefficient),) = bottom.items()
        turned = tuple((name, -power) for name, power in symbols)
        return _polynomial(_product(top, {(root, turned): 1 / (coefficient * root)}))
    if top == bottom:
        return _constant(Fraction(1))
    return Value(top, bottom)


def _inverse(value: Value) -> Value:
    if not value.top:
        raise FormulaError("division by zero")
    return _made(value.bottom, value.top)


def _opaque(name: str, *args: Value) -> Value:
    key = f"{name}({';'.join(arg.key for arg in args)})".encode()
    return _symbol(f"«{hashlib.blake2b(key, digest_size=16).hexdigest()}»")


def _power(base: Value, exponent: Value) -> Value:
    number = exponent.rational
    if number is None:
        return _opaque("^", base, exponent)
    if number.denominator != 1:
        if number.denominator == 2:
            return _power(_square_root(base), _constant(Fraction(number.numerator)))
        root = _exact_root(base, number.denominator)
        if root is None:
            return _opaque("^", base, exponent)
        return _power(root, _constant(Fraction(number.numerator)))
    whole = number.numerator
    if whole < 0:
        base, whole = _inverse(base), -whole
    known = base.rational
    if known is not None and whole:
        bits = known.numerator.bit_length() + known.denominator.bit_length()
        if bits > 2 and bits * whole > MAX_BITS:
            raise FormulaLimitError("a power with too many digits")
        return _constant(known ** (whole if bits > 2 else 2 - whole % 2))
    if whole > (MAX_POWER if len(base.top) == len(base.bottom) == 1 else MAX_POWER // 10):
        raise FormulaLimitError(f"a power as high as {whole}")
    result = _constant(Fraction(1))
    for _ in range(whole):
        result = times(result, base)
    return result


def _exact_root(base: Value, degree: int) -> Value | None:
    """The root of a rational number that is a perfect power of that degree; real for odd degrees."""
    number = base.rational
    if number is None or (number < 0 and degree % 2 == 0) or degree > MAX_POWER:
        return None
    if number < 0:
        root = _exact_root(_constant(-number), degree)
        return _scaled(root, Fraction(-1)) if root else None
    parts: list[int] = []
    for whole in (number.numerator, number.denominator):
        low, high = 0, 1 << (whole.bit_length() // degree + 1)
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if middle**degree <= whole else (low, middle - 1)
        if low**degree != whole:
            return None
        parts.append(low)
    return _constant(Fraction(parts[0], parts[1]))


def _square_root(value: Value) -> Value:
    number = value.rational
    if number is None:
        content = _content(value.top) if len(value.bottom) == 1 else Fraction(1)
        inner = _opaque("^", _scaled(value, 1 / content), _constant(Fraction(1, 2)))
        return times(_square_root(_constant(content)), inner)
    if number < 0:
        return times(_symbol("i"), _square_root(_constant(-number)))
    whole, outside = number.numerator * number.denominator, 1
    divisor = 2
    while divisor < _PRIMES_TO and divisor * divisor <= whole:
        while whole % divisor**2 == 0:
            whole, outside = whole // divisor**2, outside * divisor
        divisor += 1
    if math.isqrt(whole) ** 2 == whole:
        whole, outside = 1, outside * math.isqrt(whole)
    elif whole >= _PRIMES_TO**3:
        return _opaque("^", value, _constant(Fraction(1, 2)))
    coefficient = Fraction(outside, number.denominator)
    return _polynomial({(whole, ()): coefficient} if coefficient else {})


def _content(poly: Poly) -> Fraction:
    numbers = list(poly.values())
    top = math.gcd(*(number.numerator for number in numbers))
    return Fraction(top, math.lcm(*(number.denominator for number in numbers)))


def _function(name: str, args: tuple[Value, ...]) -> Value:
    if name == "sqrt":
        if len(args) == 1:
            return _square_root(args[0])
        return _power(args[0], _inverse(args[1]))
    if name == "exp":
        return _power(_symbol("e"), args[0])
    numbers = [arg.rational for arg in args]
    rational = [number for number in numbers if number is not None]
    if len(rational) == len(args) and name in _EXACT:
        found = _EXACT[name](rational)
        if found is not None:
            return _constant(found)
    if name == "abs" and (number := to_float(args[0])) is not None and abs(number) > 1e-9:
        return args[0] if number > 0 else _scaled(args[0], Fraction(-1))
    if name == "ln" and args[0] == _symbol("e"):
        return _constant(Fraction(1))
    return _opaque(name, *args)


def _whole(numbers: list[Fraction], most: int) -> list[int] | None:
    if any(number.denominator != 1 or not 0 <= number <= most for number in numbers):
        return None
    return [int(number) for number in numbers]


def _factorial(numbers: list[Fraction]) -> Fraction | None:
    if numbers[0] > MAX_BITS:
        raise FormulaLimitError("a factorial with too many digits")
    whole = _whole(numbers, 1000)
    return Fraction(math.factorial(whole[0])) if whole else None


def _binomial(numbers: list[Fraction]) -> Fraction | None:
    whole = _whole(numbers, 2000)
    return Fraction(math.comb(*whole)) if whole and len(whole) == 2 else None


def _logarithm(numbers: list[Fraction]) -> Fraction | None:
    """log of a whole power of the base; base 10 where none is given."""
    number, base = numbers[0], numbers[1] if len(numbers) > 1 else Fraction(10)
    if number <= 0 or base <= 0 or base == 1:
        raise FormulaError("a logarithm that does not exist")
    if number.numerator.bit_length() + number.denominator.bit_length() > 400:
        return None
    return next((Fraction(k) for k in range(-60, 61) if base**k == number), None)


def _greatest(numbers: list[Fraction]) -> Fraction | None:
    whole = _whole(numbers, 10**60)
    return Fraction(math.gcd(*whole)) if whole else None


_EXACT: dict[str, Callable[[list[Fraction]], Fraction | None]] = {
    "abs": lambda numbers: abs(numbers[0]),
    "floor": lambda numbers: Fraction(math.floor(numbers[0])),
    "ceil": lambda numbers: Fraction(math.ceil(numbers[0])),
    "factorial": _factorial,
    "binom": _binomial,
    "log": _logarithm,
    "lg": _logarithm,
    "ln": lambda numbers: Fraction(0) if numbers[0] == 1 else None,
    "gcd": _greatest,
    "max": max,
    "min": min,
}
