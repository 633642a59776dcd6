from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import promql_parser
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gitops_serving.core import template
from gitops_serving.core.errors import Invalid

if TYPE_CHECKING:
    from collections.abc import Mapping

VALUES = {
    "revision": "scorer-predictor-00002",
    "baseline": "scorer-predictor-00001",
    "namespace": "fraud",
    "service": "scorer",
    "window": "90s",
}
NASTY = st.text(max_size=20) | st.text("\\\"'`{}=~,.*|\n\r\t\0[]()#", max_size=20)


def matched(query: str) -> list[Any]:
    """List the matchers of one selector, as Prometheus's grammar has it."""
    found: Any = promql_parser.parse(query)
    return list(found.matchers.matchers)


def outcome(query: str, values: Mapping[str, str] = VALUES) -> str | Invalid:
    try:
        return template.render(query, values)
    except Invalid as error:
        return error


def refused(query: str, values: Mapping[str, str] = VALUES) -> Invalid:
    found = outcome(query, values)
    assert isinstance(found, Invalid), found
    assert found.code == "template"
    assert found.remedy
    return found


@pytest.mark.parametrize("gap", ["{{ revision }}", "{{revision}}", "{{  revision\t}}"])
def test_a_placeholder_becomes_its_value_with_or_without_spaces(gap: str) -> None:
    assert template.render(f'requests{{revision="{gap}"}}', VALUES) == 'requests{revision="scorer-predictor-00002"}'


def test_every_known_placeholder_has_its_place() -> None:
    query = 'sum(rate(a{r=~"{{ revision }}|{{ baseline }}",n="{{ namespace }}",s!="{{ service }}"}[{{ window }}]))'
    assert template.render(query, VALUES) == (
        'sum(rate(a{r=~"scorer-predictor-00002|scorer-predictor-00001",n="fraud",s!="scorer"}[90s]))'
    )


@settings(deadline=None)
@given(value=NASTY, quote=st.sampled_from("\"'"), before=st.sampled_from(["", "x/", "é "]))
def test_no_value_leaves_its_matcher(value: str, quote: str, before: str) -> None:
    query = f"a{{x={quote}{before}{{{{ revision }}}}{quote},y={quote}z{quote}}}"
    first, second = matched(template.render(query, {"revision": value}))
    assert (first.name, first.value, second.name, second.value) == ("x", before + value, "y", "z")


@settings(deadline=None)
@given(value=NASTY, other=NASTY, quote=st.sampled_from("\"'"))
def test_a_value_in_a_regular_expression_matches_itself_alone(value: str, other: str, quote: str) -> None:
    query = f"a{{x=~{quote}{{{{ namespace }}}}/.+{quote}}}"
    (found,) = matched(template.render(query, {"namespace": value}))
    assert re.fullmatch(found.value, f"{value}/b", re.DOTALL)
    assert (re.fullmatch(found.value, f"{other}/b", re.DOTALL) is not None) == f"{other}/b".startswith(f"{value}/")


@settings(deadline=None)
@given(window=st.text("0123456789smhdwy[]){}", max_size=6) | st.sampled_from(["90s", "2h", "250ms"]))
def test_a_window_is_a_duration_or_nothing(window: str) -> None:
    found = outcome('rate(a{x="{{ revision }}"}[{{ window }}])', {"revision": "r", "window": window})
    if isinstance(found, str):
        assert found == f'rate(a{{x="r"}}[{window}])'
        assert promql_parser.parse_duration(window)
    else:
        assert found.code == "template"


@settings(deadline=None)
@given(query=st.text("{} \"'`#=~revision\\\n", max_size=40))
def test_any_template_is_rendered_or_refused(query: str) -> None:
    found = outcome(query)
    assert isinstance(found, str) or found.code == "template"


def test_an_unknown_placeholder_is_answered_with_the_nearest_known_one() -> None:
    error = refused('a{x="{{ revison }}"}')
    assert (error.message, error.remedy) == ("{{ revison }} is unknown", "write {{ revision }}")
    assert "{{ baseline }}" in refused('a{x="{{ zzz }}"}').remedy
    assert refused('a{x="{{ ' + "z" * 100 + ' }}"}').message == "a placeholder is unknown"


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("a{x={{ revision }}}", "{{ revision }} stands in no matcher"),
        ("{{ revision }}", "{{ revision }} stands in no matcher"),
        ('label_replace(a, "x", "{{ revision }}", "", "")', "{{ revision }} stands in no matcher"),
        ("a # {{ revision }}", "{{ revision }} stands in no matcher"),
        ("a{x=`{{ revision }}`}", "{{ revision }} stands in backquotes, where nothing can be escaped"),
        ('a{x="{{ window }}"}', "{{ window }} stands in quotes"),
        ('a{x="{{ revision"}', "a placeholder is not closed"),
        ('a{x="{{ "revision" }}"}', "a placeholder is not closed"),
        ('a{x="revision }}"}', "a placeholder is not closed"),
        ('a{x="{{ revision }}}', 'a " is never closed'),
        ("a{x='{{ revision }}\n'}", "a ' is never closed"),
        ('a{x="{{ revision }}\\"}', 'a " is never closed'),
    ],
)
def test_a_placeholder_in_the_wrong_place_is_refused(query: str, message: str) -> None:
    assert refused(query).message == message


def test_all_that_is_wrong_with_a_template_is_said_at_once() -> None:
    error = refused('a{x={{ revision }},y="{{ nme }}"}')
    assert [each.message for each in (error, *error.others)] == [
        "{{ revision }} stands in no matcher",
        "{{ nme }} is unknown",
    ]


def test_a_value_that_is_missing_is_refused() -> None:
    assert refused('a{x="{{ baseline }}"}', {"revision": "r"}).message == "{{ baseline }} has no value here"


def test_quotes_in_strings_and_comments_confuse_nobody() -> None:
    query = "a{x='say \"{{ revision }}\"',y=\"it's\"} # don't\n+ b{z='{{ service }}'}"
    assert template.render(query, {"revision": '"', "service": "'"}) == (
        "a{x='say \"\"\"',y=\"it's\"} # don't\n+ b{z='\\''}"
    )


def test_the_label_of_a_matcher_is_known_even_in_quotes() -> None:
    query = 'a{ns="n","kn.revision.name" = "{{ revision }}",other!="{{ revision }}",pod=~"{{ revision }}-.+"}'
    assert template.labels(query, "revision") == {"kn.revision.name", "pod"}


def test_a_hostile_template_is_taken_apart_in_no_time() -> None:
    """Bounded by the reader to 4,000 characters; none of the shapes below may take its square of steps for each."""
    for piece in ('""', "{{", " " * 7 + '""', "a=", "\\", '"\\', "sum "):
        template.taken_apart(piece * (template.LONGEST // len(piece)))


@pytest.mark.parametrize(
    "query",
    [
        r'x{a="\{{ revision }}"}',
        r'x{a="b\\\{{ revision }}"}',
        r'x{a=~"\\{{ revision }}"}',
        r'x{a=~"\\Q{{ revision }}\\E"}',
    ],
)
def test_no_backslash_may_stand_before_a_value(query: str) -> None:
    """It escaped the value's own first backslash, and the value left its matcher."""
    with pytest.raises(Invalid, match="backslash"):
        template.render(query, {"revision": '"} or up #'})


def test_backslashes_that_are_whole_harm_nobody() -> None:
    assert template.render(r'x{a="b\\{{ revision }}"}', {"revision": "v"}) == r'x{a="b\\v"}'
