from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from gitops_serving.core import ledger
from gitops_serving.core.errors import Invalid
from gitops_serving.core.ledger import Asked, Entry, Record, Rejected, read_record, read_trailers, write_record
from gitops_serving.core.model import Canary, Hold, Past, Request, Stable

from .situations import MINUTE, NOON, quick
from .trees import ONE, RECORD_PATH, TWO, on_trial, record

DIGESTS = ("12e345678901", "0b1010101010", "000000000000", "123456789012", "1e1111111111", "abcdefabcdef")
digests = st.sampled_from(DIGESTS) | st.text("0123456789abcdef", min_size=12, max_size=12)
blobs = st.text("0123456789abcdef", min_size=40, max_size=40)
numbers = st.integers(1, 99)  # of labels
instants = st.integers(0, 10**9).map(lambda seconds: NOON + timedelta(seconds=seconds))
spans = st.integers(0, 9999).map(lambda seconds: timedelta(seconds=seconds))
lines = st.text(  # of one printable line, as `one_line` leaves them
    st.characters(exclude_categories=("Cs", "Cc", "Cf", "Co", "Cn", "Zl", "Zp")), max_size=30
).map(ledger.one_line)
BREAKS = ("\n", "\r\n")
FRAGMENTS = (
    "a: 1",
    "  # comment",
    "\tx",
    "  ",
    "trailing \t ",
    "é: ü",
    "日本",
    "'\"",
    "...",
    "---",
    "🙂",
    "%",
    "|",
    "\u00a0x",
)
texts = st.builds(
    lambda parts, last: "".join(f"{text}{line_break}" for text, line_break in parts) + last,
    st.lists(st.tuples(st.sampled_from(FRAGMENTS) | lines, st.sampled_from(BREAKS)), max_size=6),
    st.sampled_from(("", "no end", " ", "\n", "\n\n")),
)


@st.composite
def records(draw: st.DrawFn) -> Record:
    tried, kept = draw(digests), draw(digests)
    canary = Canary(
        revision=tried,
        label=f"{tried}.{draw(numbers)}",
        weight=draw(st.integers(1, 100)),
        started=draw(instants),
        since=draw(instants),
        held=draw(spans),
        past=tuple(draw(st.lists(st.builds(Past, st.integers(1, 99), instants, spans), max_size=3))),
    )
    return Record(
        service="/".join(draw(st.tuples(*[st.sampled_from(("fraud", "n", "y", "0", "007", "1e3", "on"))] * 2))),
        environment="demo",
        stable=Stable(
            kept,
            draw(st.none() | numbers.map(lambda n: f"{kept}.{n}")),
            draw(st.none() | lines),
            draw(st.none() | digests),
        ),
        stable_text=draw(texts),
        canary=canary,
        canary_text=draw(texts),
        policy=draw(st.just("") | st.builds("{}@{}".format, st.just("standard"), st.text("0123456789abcdef"))),
        previous=draw(st.none() | digests),
        admissions=draw(st.integers(99, 10**6)),
        settling=draw(st.booleans()),
        hold=draw(st.none() | st.builds(Hold, by=lines, at=instants, reason=lines, until=st.none() | instants)),
        asked=draw(st.none() | st.builds(Asked, st.sampled_from(Request), digests, lines, instants)),
        rejected=tuple(draw(st.lists(st.builds(Rejected, digests, st.none() | blobs, instants, lines), max_size=3))),
        last=draw(st.none() | st.tuples(st.just("shift"), digests, instants)),
    )


@quick
@given(records())
def test_a_record_reads_back_to_the_same_value(of: Record) -> None:
    assert read_record(write_record(of), ledger.record_path("demo", of.service), "demo") == of


@quick
@given(records())
def test_any_yaml_reader_finds_the_same_texts_in_a_record(of: Record) -> None:
    """Somebody else's YAML 1.1 reader must not see 12e345678901 as a number, nor a bare n as false."""
    found: dict[str, Any] = yaml.safe_load(write_record(of).decode())
    assert of.stable is not None
    assert of.canary is not None
    assert found["stable"]["revision"] == of.stable.revision
    assert found["canary"]["label"] == of.canary.label
    assert "{namespace}/{name}".format(**found["metadata"]) == of.service


NUMBER = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|0o[0-7]+|0x[0-9a-fA-F]+")  # YAML 1.2, core


@pytest.mark.parametrize("digest", DIGESTS)
def test_no_digest_is_written_so_that_yaml_1_2_takes_it_for_a_number(digest: str) -> None:
    of = record(stable=Stable(digest, f"{digest}.5"), previous=digest, admissions=5)
    for line in write_record(of).decode().splitlines():
        if digest in line:
            written = line.split(": ", 1)[1]
            assert written.startswith("'") or not NUMBER.fullmatch(written)


TEXTS = {
    "as a person writes it": ONE,
    "without a last line break": ONE.rstrip("\n"),
    "blank lines at the end": f"{ONE}\n\n",
    "windows line ends": ONE.replace("\n", "\r\n"),
    "a byte order mark": f"\ufeff{ONE}",
    "tabs": ONE.replace("   # reviewed", "\t# reviewed"),
    "leading spaces": "\n".join(f"  {line}" for line in ONE.splitlines()) + "\n",
    "leading blank lines": f"\n\n{ONE}",
    "trailing blanks": ONE.replace("predictor:", "predictor: "),
    "other scripts": ONE.replace("fraud team", "équipe de fraude, 詐欺, 🙂"),
    "odd separators": ONE.replace("fraud team", "fraud\u2028team\u0085of\u00a0ours"),
    "nothing": "",
}


@pytest.mark.parametrize("case", TEXTS)
def test_a_manifest_is_kept_byte_for_byte(case: str) -> None:
    of = record(stable_text=TEXTS[case])
    assert read_record(write_record(of), RECORD_PATH, "demo").stable_text == TEXTS[case]


def test_a_manifest_is_written_as_a_block_that_people_can_read() -> None:
    source = write_record(record()).decode()
    assert "  manifest: |\n    # The scorer of the fraud team.\n    apiVersion: serving" in source


def test_a_record_that_would_not_read_back_is_not_written() -> None:
    canary = on_trial().canary
    assert canary is not None
    with pytest.raises(Invalid, match=r"the record of fraud/scorer would not read back") as caught:
        write_record(record(canary=replace(canary, started=NOON + timedelta(microseconds=1)), canary_text=TWO))
    assert caught.value.code == "record"


GOLDEN = """\
# Written by gitops-serving. State of fraud/scorer in demo.
apiVersion: gitops-serving.dev/v1alpha1
kind: RolloutRecord
metadata:
  name: scorer
  namespace: fraud
stable:
  revision: '12e345678901'
  label: '12e345678901.5'
  clusterRevision: scorer-predictor-00001
  uid: uid-1
  manifest: |
    a: 1
previous:
  revision: abcdefabcdef
canary:
  revision: abcdefabcde0
  label: abcdefabcde0.6
  weight: 25
  started: '2026-01-01T12:00:00Z'
  since: '2026-01-01T12:03:00Z'
  held: 30
  past: [{weight: 5, since: '2026-01-01T12:00:00Z', held: 40}, {weight: 10, since: '2026-01-01T12:01:00Z'}]
  policy: standard@9c1e0a77
  manifest: |
    b: 2
admissions: 6
settling: true
hold:
  by: Ann <ann@example.invalid>
  at: '2026-01-01T12:00:00Z'
  reason: on call
  until: '2026-01-01T13:00:00Z'
asked:
  what: abort
  revision: abcdefabcde0
  by: Ann
  at: '2026-01-01T12:00:00Z'
rejected:
- revision: abcdefabcde1
  blob: '0123456789012345678901234567890123456789'
  at: '2026-01-01T12:00:00Z'
  because: errors 4%
last:
  action: shift
  revision: abcdefabcde0
  at: '2026-01-01T12:01:00Z'
"""
WHOLE = Record(
    service="fraud/scorer",
    environment="demo",
    stable=Stable("12e345678901", "12e345678901.5", "scorer-predictor-00001", "uid-1"),
    stable_text="a: 1\n",
    canary=Canary(
        revision="abcdefabcde0",
        label="abcdefabcde0.6",
        weight=25,
        started=NOON,
        since=NOON + 3 * MINUTE,
        held=timedelta(seconds=30),
        past=(Past(5, NOON, timedelta(seconds=40)), Past(10, NOON + MINUTE)),
    ),
    canary_text="b: 2\n",
    policy="standard@9c1e0a77",
    previous="abcdefabcdef",
    admissions=6,
    settling=True,
    hold=Hold(by="Ann <ann@example.invalid>", at=NOON, reason="on call", until=NOON + 60 * MINUTE),
    asked=Asked(Request.ABORT, "abcdefabcde0", "Ann", NOON),
    rejected=(Rejected("abcdefabcde1", "0123456789012345678901234567890123456789", NOON, "errors 4%"),),
    last=("shift", "abcdefabcde0", NOON + MINUTE),
)


def test_a_record_is_written_as_people_may_read_it() -> None:
    assert write_record(WHOLE).decode() == GOLDEN


def test_what_is_empty_is_left_out() -> None:
    source = write_record(Record(service="fraud/scorer", environment="demo")).decode()
    assert source.splitlines()[3:] == ["metadata:", "  name: scorer", "  namespace: fraud", "admissions: 0"]


def test_an_instant_is_written_in_utc_and_whole_seconds() -> None:
    cet = datetime(2026, 1, 1, 13, 0, 59, 999999, tzinfo=timezone(timedelta(hours=1)))
    assert ledger.instant(cet) == "2026-01-01T12:00:59Z"
    assert ledger.instant(NOON.astimezone(UTC)) == "2026-01-01T12:00:00Z"


def test_a_record_at_another_service_s_place_is_damaged() -> None:
    with pytest.raises(Invalid, match="it is that of fraud/scorer") as caught:
        read_record(write_record(WHOLE), "rollouts/demo/fraud/copy.yaml", "demo")
    assert (caught.value.code, caught.value.path) == ("record", "rollouts/demo/fraud/copy.yaml")


WRONG = {
    "a stable that is an empty mapping": ("stable:", "stable: {}\nspare:", "stable.revision is missing"),
    "a stable that is an empty text": ("stable:", "stable: ''\nspare:", "stable cannot be ''"),
    "a stable that is nothing": ("stable:", "stable:\nspare:", "stable cannot be empty"),
    "a canary without a stable": ("stable:", "spare:", "no stable revision to return to"),
    "a revision that is a number": ("revision: '12e345678901'", "revision: 123456789012", "stable.revision cannot be"),
    "a revision that is none": ("revision: '12e345678901'", "revision: '?'", r"stable.revision cannot be '\?'"),
    "a label that is a mapping": ("label: '12e345678901.5'", "label: {a: b}", "stable.label cannot be a mapping"),
    "a label without its number": ("label: '12e345678901.5'", "label: '12e345678901'", "stable.label cannot be"),
    "a label of another revision": ("label: '12e345678901.5'", "label: abcdefabcde0.5", "not that of 12e345678901"),
    "a label that is still to be given": ("admissions: 6", "admissions: 5", "abcdefabcde0.6 is beyond the 5 admiss"),
    "admissions below nothing": ("admissions: 6", "admissions: -3", "admissions cannot be -3"),
    "admissions without end": ("admissions: 6", "admissions: .inf", "admissions cannot be inf"),
    "admissions in quotes": ("admissions: 6", "admissions: '6'", "admissions cannot be '6'"),
    "settling that is a number": ("settling: true", "settling: 5", "settling cannot be 5"),
    "a manifest that is a list": ("  manifest: |\n    b: 2", "  manifest: []", "canary.manifest cannot be a list"),
    "a manifest that is nothing": ("  manifest: |\n    b: 2", "  manifest:", "canary.manifest cannot be empty"),
    "a weight beyond all": ("weight: 5", "weight: 101", "weight cannot be 101"),
    "a weight that is a boolean": ("weight: 5", "weight: true", "weight cannot be true"),
    "an age to be held for": ("held: 30", "held: 99999999999999999", "canary.held cannot be 99999999999999999"),
    "less than nothing held": ("held: 30", "held: -5", "canary.held cannot be -5"),
    "an instant beyond time": ("until: '2026-01-01T13:00:00Z'", "until: '9999-12-31T23:59:59-12:00'", "hold.until can"),
    "an instant before time": ("until: '2026-01-01T13:00:00Z'", "until: '0001-01-01T00:00:00+14:00'", "hold.until can"),
    "an instant without a zone": ("since: '2026-01-01T12:01:00Z'", "since: '2026-01-01T12:01:00'", "since cannot be"),
    "a request nobody knows": ("what: abort", "what: undo", "'undo' is not a valid Request"),
    "a hold by nobody": ("  by: Ann <ann@example.invalid>\n", "", "hold.by is missing"),
    "rejections that are none": ("rejected:\n", "rejected: {}\nspare:\n", "rejected cannot be a mapping"),
    "a rejected list": ("- revision: abcdefabcde1", "- revision: [1]", r"rejected\[0\].revision cannot be a list"),
    "a rejection that is a text": ("rejected:\n", "rejected: [a]\nspare:\n", r"rejected\[0\] cannot be 'a'"),
    "two documents": ("last:\n", "---\nlast:\n", "it is not one mapping"),
    "no metadata": ("metadata:", "metadatum:", "metadata is missing"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_we_would_not_have_written_is_damage(case: str) -> None:
    """An empty value passed for an absent one, and a wrong one for a right one: `canary: {}`, `admissions: -3`."""
    old, new, why = WRONG[case]
    assert old in GOLDEN
    with pytest.raises(Invalid, match=why) as caught:
        read_record(GOLDEN.replace(old, new, 1).encode(), RECORD_PATH, "demo")
    assert (caught.value.code, caught.value.path) == ("record", RECORD_PATH)
    assert "restore the file" in caught.value.remedy


def test_only_the_newest_rejections_are_kept_and_none_twice() -> None:
    of = Record(service="fraud/scorer", environment="demo")
    for number in range(25):
        of = ledger.reject(of, Rejected(f"{number:012d}", None, NOON, "errors"))
    assert [int(r.revision) for r in of.rejected] == list(range(5, 25))
    again = ledger.reject(of, Rejected("000000000010", "b" * 40, NOON, "again"))
    assert len(again.rejected) == 20
    assert again.rejected[-1].because == "again"
    assert sum(r.revision == "000000000010" for r in again.rejected) == 1


# -- entries ---------------------------------------------------------------------------------------------------------

ENTRY = Entry(
    service="fraud/scorer",
    action="shift",
    step="2/3",
    weight_before=5,
    weight=25,
    revision="3f9c1d27a0b1",
    environment="demo",
    canary="scorer-predictor-00002",
    stable="scorer-predictor-00001",
    policy="standard@9c1e0a77",
    because="Errors 0.20% of 4,812 requests (stable 0.20%, limit 0.29%).",
    details=("pass: errors 0.20% of 4,812 requests (stable 0.20%, limit 0.29%)", "pass: slo 0.20%"),
)
MESSAGE = """\
rollout(fraud/scorer): shift, 5% -> 25%

Errors 0.20% of 4,812 requests (stable 0.20%, limit 0.29%).

- pass: errors 0.20% of 4,812 requests (stable 0.20%, limit 0.29%)
- pass: slo 0.20%

Rollout-Service: fraud/scorer
Rollout-Environment: demo
Rollout-Action: shift
Rollout-Step: 2/3
Rollout-Weight: 25
Rollout-Revision: 3f9c1d27a0b1
Rollout-Canary: scorer-predictor-00002
Rollout-Stable: scorer-predictor-00001
Rollout-Policy: standard@9c1e0a77
"""


def test_an_entry_is_a_commit_message_with_trailers() -> None:
    assert ENTRY.message() == MESSAGE
    assert read_trailers(MESSAGE) == {
        "Service": "fraud/scorer",
        "Environment": "demo",
        "Action": "shift",
        "Step": "2/3",
        "Weight": "25",
        "Revision": "3f9c1d27a0b1",
        "Canary": "scorer-predictor-00002",
        "Stable": "scorer-predictor-00001",
        "Policy": "standard@9c1e0a77",
    }


def test_an_entry_without_weights_has_none() -> None:
    bare = replace(ENTRY, weight=None, weight_before=None, step="", canary="", stable="", policy="", details=())
    message = replace(bare, action="settle").message()
    assert message.startswith("rollout(fraud/scorer): settle\n\n")
    assert set(read_trailers(message)) == {"Service", "Environment", "Action", "Revision"}


FORGED = "fine\n\nRollout-Action: promote\nRollout-Weight: 100\n\n"


@pytest.mark.parametrize("field", ["because", "details", "policy", "revision", "canary"])
@pytest.mark.parametrize("line_break", ["\n", "\r\n", "\r", "\v", "\f", "\x1c", "\x85", "\u2028", "\u2029"])
def test_trailers_cannot_be_forged(field: str, line_break: str) -> None:
    forged = FORGED.replace("\n", line_break)
    fields: Any = {field: (forged,) if field == "details" else forged}
    message = replace(ENTRY, **fields).message()
    assert len(message.splitlines()) == len(MESSAGE.splitlines()) - (field == "details")
    found = read_trailers(message)
    assert (found["Action"], found["Weight"]) == ("shift", "25")


def test_two_equal_trailers_are_not_ours() -> None:
    assert read_trailers(f"{MESSAGE}Rollout-Action: promote\n") == {}


def test_a_person_s_message_has_no_trailers() -> None:
    assert read_trailers("Change the model\n\nRollout-Action is a word here\n") == {}


@quick
@given(st.text())
def test_one_line_is_one_printable_line(anything: str) -> None:
    line = ledger.one_line(anything)
    assert len(line.splitlines()) <= 1
    assert line.isprintable()
    assert len(line) <= 900
