"""Label and field selectors of list and watch requests, parsed once into a test of objects.

Knows nothing of HTTP or of resources.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from gitops_serving.local.faults import Json, bad_request

Test = Callable[[Json], bool]
Labels = dict[str, str]

_TERM = re.compile(
    r"\s*(?:"
    r"(?P<absent>!)\s*(?P<missing>[^\s,=!()]+)"
    r"|(?P<set>[^\s,=!()]+)\s+(?P<how>in|notin)\s*\((?P<values>[^()]*)\)"
    r"|(?P<key>[^\s,=!()]+)\s*(?:(?P<sign>==?|!=)\s*(?P<value>[^\s,=!()]*))?"
    r")\s*(?:,|$)"
)


def selected(labels: str, fields: str) -> Test:
    """Parse both selectors of a request (empty: everything); raises ApiError (400)."""
    terms = [_by_labels(term) for term in _label_terms(labels)]
    tests = [*terms, *(_by_field(term) for term in fields.split(",") if term)]
    return lambda body: all(test(body) for test in tests)


def _label_terms(text: str) -> list[re.Match[str]]:
    """Split a label selector into its terms."""
    terms, position = [], 0
    while position < len(text):
        term = _TERM.match(text, position)
        if term is None or term.end() == position:
            raise bad_request(f"unable to parse the label selector {text!r}; write for instance app=scorer,tier!=test")
        terms.append(term)
        position = term.end()
    return terms


def _by_labels(term: re.Match[str]) -> Test:
    """Turn one term into a test of an object's labels."""
    condition = _condition(term)
    return lambda body: condition(body["metadata"].get("labels", {}))


def _condition(term: re.Match[str]) -> Callable[[Labels], bool]:
    """Turn one term into a test of labels."""
    if term["absent"]:
        return lambda labels: term["missing"] not in labels
    if term["how"]:
        values = {value.strip() for value in term["values"].split(",")}
        within = term["how"] == "in"
        return lambda labels: (labels.get(term["set"]) in values) == within
    if term["sign"] == "!=":
        return lambda labels: labels.get(term["key"]) != term["value"]
    if term["sign"]:
        return lambda labels: labels.get(term["key"]) == term["value"]
    return lambda labels: term["key"] in labels


def _by_field(term: str) -> Test:
    """Turn one term of a field selector into a test; events may be asked about other fields, and have none."""
    match = re.fullmatch(r"([\w.]+)(==?|!=)(.*)", term)
    if match is None:
        raise bad_request(f"unable to parse the field selector {term!r}; write metadata.name=scorer")
    field, sign, wanted = match.groups()
    part = field.split(".")[-1]
    if field not in {"metadata.name", "metadata.namespace"} and not field.startswith("involvedObject."):
        raise bad_request(f"the field selector {field} is not supported; use metadata.name or metadata.namespace")
    return lambda body: (body["metadata"].get(part) == wanted) == (sign != "!=")
