"""The sandbox: what it renders, and what it stops."""

from __future__ import annotations

import time

import pytest
from transformers.utils.chat_template_utils import _compile_jinja_template

from ponder.core.errors import ModelFolderError, UserError
from ponder.text.template import MAX_TEMPLATE_CHARS, Template

VALUES = {
    "messages": [
        {"role": "user", "content": " Hi <b>'&é "},
        {"role": "assistant", "content": "x", "n": 1700000000},
    ],
    "text": "a,b",
}


@pytest.mark.parametrize(
    "source",
    [
        "{{ messages | tojson }}",
        "{{ messages | tojson(indent=2) }}",
        "{{ messages[0] | tojson(ensure_ascii=True, sort_keys=True) }}",
        "{% for m in messages %}\n  {% if loop.last %}{{ loop.length }}"
        "{{ loop.previtem.role }}{% endif %}\n{% endfor %}\n",
        "{% for m in messages %}{% if loop.first %}{% continue %}{% endif %}{{ m.role }}{% break %}{% endfor %}",
        "{% for m in messages if m.role == 'user' %}{{ m.content | trim }}{% else %}none{% endfor %}",
        "{% for k, v in messages[0].items() %}{{ k ~ '=' ~ v ~ missing }}{% endfor %}",
        "{{ 'a' ~ ('b' ~ 1 ~ [2 ~ 'c', {'k': 'd' ~ text}]) }}",
        "{% for m in missing %}x{% endfor %}{{ missing is defined }}",
        "{% generation %}{{ text.split(',')[-1] }}{% endgeneration %}",
        "{% set x = 1 %}{% generation %}{% set x = 2 %}{% endgeneration %}{{ x }}",
        "{% set ns = namespace(n=0) %}{% for i in range(5) %}{% set ns.n = ns.n + i %}{% endfor %}{{ ns.n * 2 }}",
        "{% macro f(a, b=2) %}{{ a }}-{{ b }}{% endmacro %}{{ f(1) }}{{ f(text, b='z' * 3) }}",
        "{{ dict(a=1, b=text) | items | list }}{{ '%s-%05d' % (text, 7) }}"
        "{{ '%s' | format(text) }}{{ '{:>4}'.format(1) }}",
        "{{ text.replace(',', '--').upper() | replace('A', 'c') }}"
        "{{ [1, 2] | join(', ') }}{{ ', '.join(['a', 'b']) }}",
        "{{ messages | map(attribute='role') | join('|') }}"
        "{{ messages | selectattr('n', 'defined') | list | length }}",
        "{{ 'a\nb' | indent(2) }}{{ 2 ** 10 }}{{ [3, 1] | sort }}"
        "{{ text[::-1] }}{{ -7 // 2 }}{{ (messages + [1]) | length }}",
        "{{ '{0.__class__}'.format(1) }}",
        "{{ messages[1].n | tojson }}{{ 1700000000 | string }}"
        "{{ text | center(9) }}{{ 'tree'.startswith(('t', 'u')) }}",
    ],
)  # fmt: skip
def test_renders_as_transformers(source: str) -> None:
    assert Template(source).render(VALUES) == _compile_jinja_template(source).render(**VALUES)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}", "more than 2000000 steps"),
        ("{% set r = range(99999) %}{% for i in r %}{% for j in r %}{% endfor %}{% endfor %}", "more than"),
        ("{{ range(1000000) | list }}", "Range too big"),
        ("{% macro f(n) %}{{ f(n) }}{{ f(n) }}{% endmacro %}{{ f(1) }}", "recursion depth"),
        (
            "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(40) }}",
            "more than 2000000",
        ),
        ("{% for i in [1] recursive %}{{ loop([1]) }}{% endfor %}", "recursion depth"),
        ("{{ 'a' * 10 ** 9 }}", "more than 16777216 characters"),
        ("{{ 10 ** 9 * 'a' }}", "more than 16777216 characters"),
        ("{{ [0] * 10 ** 9 }}", "more than 16777216 characters"),
        ("{{ 10 ** 10 ** 10 }}", "to the power"),
        (
            "{% set n = namespace(a='12345678') %}{% for i in range(60) %}{% set n.a = n.a ~ n.a %}{% endfor %}",
            "characters",
        ),
        (
            "{% set n = namespace(a='12345678') %}{% for i in range(60) %}{% set n.a = n.a + n.a %}{% endfor %}",
            "characters",
        ),
        ("{% for i in range(99999) %}{{ 'x' * 9999 }}{% endfor %}", "more than 16777216 characters"),
        ("{{ 'a' | center(10 ** 9) }}", "characters"),
        ("{{ 'a'.ljust(1000000000) }}", "characters"),
        ("{{ '%999999999d' % 1 }}", "the width '999999999'"),
        ("{{ '%*d' % (999999999, 1) }}", "the width"),
        ("{{ '{:>999999999}'.format(1) }}", "the width"),
        ("{{ '{:>{}}'.format(1, 999999999) }}", "the width"),
        ("{{ '%999999999d' | format(1) }}", "the width"),
        ("{% set a = 'a' * 1000000 %}{{ a.replace('a', a) }}", "characters"),
        ("{% set a = 'a' * 1000000 %}{{ a | replace('a', a) }}", "characters"),
        ("{% set a = 'a' * 1000000 %}{{ a.join(a) }}", "characters"),
        ("{% set a = 'a' * 1000000 %}{{ (a | list) | join(a) }}", "characters"),
        ("{{ ('\t' * 1000000).expandtabs(1000000) }}", "characters"),
        ("{{ ('\n' * 1000000) | indent(999999) }}", "characters"),
        ("{{ ''.__class__.__mro__ }}", "unsafe"),
        ("{{ messages.append(1) }}", "unsafe"),
        ("{{ messages[0].update(role='x') }}", "unsafe"),
        ("{{ cycler.__init__.__globals__ }}", "unsafe"),
        ("{{ namespace(__class__=1) }}", "underscore"),
        ("{% set n = namespace() %}{% set n.__class__ = 1 %}", "underscore"),
        ("{{ raise_exception('roles must alternate') }}", "refused these messages: roles must alternate"),
        ("{% include 'other' %}", "no loader"),
        ("{{ messages[7].content.split() }}", "refused these messages"),
        ("{{ 1 / 0 }}", "division by zero"),
    ],
)  # fmt: skip
def test_stops(source: str, message: str) -> None:
    start = time.process_time()
    with pytest.raises(UserError, match=message.replace("*", r"\*")):
        Template(source).render(VALUES)
    assert time.process_time() - start < 5


def test_too_long_a_template() -> None:
    with pytest.raises(ModelFolderError, match="a chat template of 262145 characters"):
        Template("x" * (MAX_TEMPLATE_CHARS + 1))


def test_the_clock_is_the_only_outside_value() -> None:
    assert Template("{{ strftime_now('%Y') }}").render({}) == time.strftime("%Y")
    assert Template("{{ messages }}{{ x }}").variables == {"messages", "x"}
