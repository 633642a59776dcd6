"""What the things that metric packs are for report, as they report it: names, labels and units, with small numbers.

A line is a series and how much it grows by a scrape.  Every revision answers a hundred requests by then; 5 of stable's
and 20 of the canary's are wrong.  NS, REV, POD, BAD and OK stand for what differs.  Series with ``trap`` in a label are
those that must not be counted: the same requests seen by somebody else, or other requests.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

SERVICE = "scorer"
REVISIONS = {f"{SERVICE}-predictor-00001": 5, f"{SERVICE}-predictor-00002": 20}  # and how many of 100 are bad
BUCKETS = (("0.005", 10), ("0.1", 60), ("1", 98), ("+Inf", 100))

# As the relabelling of docs/guide.md makes them, from the labels of pods.
RELABELLED = {"namespace": "NS", "revision_name": "REV", "isvc": SERVICE, "pod": "POD"}
SCRAPED = {"namespace": "NS", "pod": "POD"}  # by a PodMonitor, without that relabelling

OLD = (
    'namespace_name="NS",service_name="scorer-predictor",configuration_name="scorer-predictor",revision_name="REV",'
    'pod_name="POD",container_name="queue-proxy",route_tag="default"'
)
OTEL = 'http_request_method="POST",server_address="POD",server_port="8012",url_scheme="http",otel_scope_name="otelhttp"'
ON_SERIES = 'k8s_namespace_name="NS",kn_service_name="scorer-predictor",kn_revision_name="REV"'
ISTIO = (
    'destination_service_namespace="NS",destination_service_name="REV",destination_workload="activator",'
    'source_workload="istio-ingressgateway",request_protocol="http"'
)
ENVOY = 'envoy_cluster_name="NS/REV"'


def histogram(name: str, labels: str = "") -> str:
    """Write the series of a histogram of a hundred values."""
    comma = "," if labels else ""
    lines = [f'{name}_bucket{{{labels}{comma}le="{le}"}} {count}' for le, count in BUCKETS]
    return "\n".join((*lines, f"{name}_sum{{{labels}}} 25", f"{name}_count{{{labels}}} 100"))


def otel(labels: str) -> str:
    """Write OpenTelemetry's histogram of a server's requests; BAD and OK are the parts of its hundred."""
    name, lines = "http_server_request_duration_seconds", []
    for code, count in (("200", "OK"), ("503", "BAD")):
        each = f'{OTEL},{labels},http_response_status_code="{code}"'
        lines += [f'{name}_bucket{{{each},le="{le}"}} {count}' for le, _ in BUCKETS]
        lines.append(f"{name}_count{{{each}}} {count}")
    return "\n".join(lines)


@dataclass(frozen=True, slots=True, kw_only=True)
class Exposition:
    """One namespace in which requests are reported in one way."""

    text: str  # for one revision
    sources: Mapping[str, str]  # by signal: the source that is to be found
    target: Mapping[str, str] = field(default_factory=lambda: RELABELLED)  # labels that scraping adds
    shared: bool = False  # one target reports all revisions, as a gateway does


def both(*signals: str, source: str) -> dict[str, str]:
    """Expect the same source for several signals."""
    return dict.fromkeys(signals, source)


KNATIVE = ("errors", "latency")
EXPOSITIONS: dict[str, Exposition] = {
    "knative-old": Exposition(
        text=f"""
revision_request_count{{{OLD},response_code="200",response_code_class="2xx"}} OK
revision_request_count{{{OLD},response_code="500",response_code_class="5xx"}} BAD
{histogram("revision_request_latencies", f'{OLD},response_code="200",response_code_class="2xx"')}
revision_app_request_count{{{OLD},response_code="200",response_code_class="2xx",trap="app"}} 100
activator_request_count{{{OLD},response_code="200",response_code_class="2xx",trap="activator"}} 100
""",
        sources=both(*KNATIVE, source="Knative up to 1.18"),
        target=SCRAPED,
    ),
    "knative-relabelled": Exposition(
        text=f"""
{otel('kn_route_tag="kn:default"')}
{otel('trap="user container"')}
target_info{{k8s_namespace_name="NS",kn_revision_name="REV",k8s_container_name="queue-proxy"}} 0
""",
        sources=both(*KNATIVE, source="Knative from 1.19, relabelled from pods"),
    ),
    "knative-promoted": Exposition(
        text=f"""
{otel(f'{ON_SERIES},kn_route_tag="kn:disabled"')}
{otel(f'{ON_SERIES},trap="activator"')}
""",
        sources=both(*KNATIVE, source="Knative from 1.19, by OTLP with promoted attributes"),
        target={},
    ),
    "knative-joined": Exposition(
        text=f"""
{otel('kn_route_tag="kn:default"')}
{otel('trap="user container"')}
target_info{{k8s_namespace_name="NS",kn_revision_name="REV",k8s_pod_name="POD"}} 0
target_info{{service_name="user container"}} 0
""",
        sources=both(*KNATIVE, source="Knative from 1.19, joined with target_info"),
        target=SCRAPED,
    ),
    "knative-activator": Exposition(
        text=otel(ON_SERIES),
        sources=both(*KNATIVE, source="Knative from 1.19, activator only"),
        target={"namespace": "knative-serving", "pod": "activator-0"},
        shared=True,
    ),
    "istio": Exposition(
        text=f"""
istio_requests_total{{reporter="source",{ISTIO},response_code="200"}} OK
istio_requests_total{{reporter="source",{ISTIO},response_code="502"}} BAD
istio_requests_total{{reporter="destination",{ISTIO},response_code="200",trap="seen twice"}} 100
istio_requests_total{{reporter="source",destination_service_namespace="istio-system",
destination_service_name="knative-local-gateway",response_code="200",trap="first hop of REV"}} 100
{histogram("istio_request_duration_milliseconds", f'reporter="source",{ISTIO},response_code="200"')}
""".replace(",\n", ","),
        sources=both(*KNATIVE, source="Istio"),
        target={"namespace": "istio-system"},
        shared=True,
    ),
    "kourier": Exposition(
        text=f"""
envoy_cluster_upstream_rq_xx{{{ENVOY},envoy_response_code_class="2"}} OK
envoy_cluster_upstream_rq_xx{{{ENVOY},envoy_response_code_class="5"}} BAD
envoy_cluster_external_upstream_rq_xx{{{ENVOY},envoy_response_code_class="2",trap="seen twice"}} 100
envoy_cluster_upstream_rq_completed{{{ENVOY},trap="seen twice"}} 100
{histogram("envoy_cluster_upstream_rq_time", ENVOY)}
""",
        sources=both(*KNATIVE, source="Kourier"),
        target={"namespace": "kourier-system"},
        shared=True,
    ),
    "kserve": Exposition(
        text=f"""
{histogram("request_preprocess_seconds", 'model_name="scorer"')}
{histogram("request_predict_seconds", 'model_name="scorer"')}
request_postprocess_seconds_count{{model_name="scorer"}} OK
""",
        sources=both(*KNATIVE, source="KServe's Python server"),
    ),
    "vllm": Exposition(
        text=f"""
{histogram("vllm:time_to_first_token_seconds", 'model_name="llama",engine="0"')}
{histogram("vllm:inter_token_latency_seconds", 'model_name="llama",engine="0"')}
{histogram("vllm:time_per_output_token_seconds", 'model_name="llama",engine="0"')}
{histogram("vllm:e2e_request_latency_seconds", 'model_name="llama",engine="0"')}
{histogram("vllm:request_queue_time_seconds", 'model_name="llama",engine="0"')}
vllm:num_requests_running{{model_name="llama",engine="0"}} 1
http_requests_total{{handler="/v1/completions",method="POST",status="2xx"}} OK
http_requests_total{{handler="/v1/completions",method="POST",status="5xx"}} BAD
""",
        sources=both("ttft", "inter-token", "latency", "queue", source="vLLM") | {"errors": "vLLM's OpenAI server"},
    ),
    "vllm-older": Exposition(
        text=f"""
{histogram("vllm:time_to_first_token_seconds", 'model_name="llama"')}
{histogram("vllm:time_per_output_token_seconds", 'model_name="llama"')}
{histogram("vllm:e2e_request_latency_seconds", 'model_name="llama"')}
{histogram("vllm:request_queue_time_seconds", 'model_name="llama"')}
""",
        sources=both("ttft", "inter-token", "latency", "queue", source="vLLM, older"),
    ),
    "triton": Exposition(
        text="""
nv_inference_request_success{model="scorer",version="1"} OK
nv_inference_request_failure{model="scorer",version="1",reason="BACKEND"} BAD
nv_inference_request_failure{model="scorer",version="1",reason="CANCELED",trap="the caller's wish"} 7
nv_inference_request_duration_us{model="scorer",version="1"} OK*50000
nv_inference_queue_duration_us{model="scorer",version="1"} OK*1000
""",
        sources=both("errors", "mean-latency", "mean-queue", source="Triton"),
    ),
    "torchserve": Exposition(
        text="""
ts_inference_requests_total{model_name="scorer",model_version="default",hostname="POD"} 100
Requests2XX{Level="Host",Hostname="POD",trap="health checks"} 5000
Requests5XX{Level="Host",Hostname="POD"} BAD
ts_inference_latency_microseconds{model_name="scorer",model_version="default",hostname="POD"} 100*50000
ts_queue_latency_microseconds{model_name="scorer",model_version="default",hostname="POD"} 100*1000
""",
        sources=both("errors", "mean-latency", "mean-queue", source="TorchServe"),
    ),
    "mlserver": Exposition(
        text="""
model_infer_request_success_total{model="scorer",version="1"} OK
model_infer_request_failure_total{model="scorer",version="1"} BAD
model_infer_request_duration_sum{model="scorer",version="1"} 5
model_infer_request_duration_count{model="scorer",version="1"} 100
""",
        sources=both("errors", "mean-latency", source="MLServer"),
    ),
}
NOBODY = "somebody-elses"  # a namespace where only a common name is in use
OTHERS = 'http_requests_total{handler="/",method="GET",status="2xx"} 100'


def filled(text: str, namespace: str, revision: str) -> str:
    """Put a namespace and a revision in."""
    bad = REVISIONS[revision]
    words = {"NS": namespace, "REV": revision, "POD": f"{revision}-deployment-7f-x", "BAD": str(bad)}
    for word, value in (words | {"OK": str(100 - bad)}).items():
        text = text.replace(word, value)
    return text


def grown(text: str, scrapes: int) -> str:
    """Write what is exposed after so many scrapes; target_info, which grows by nothing, is always 1."""
    lines = []
    for line in text.strip().split("\n"):  # and not at what else Unicode takes for an end of line
        series, _, growth = line.rpartition(" ")
        if series:
            each = math.prod(float(factor) for factor in growth.split("*"))
            lines.append(f"{series} {each * scrapes if each else 1}")
    return "\n".join(lines) + "\n"
