"""Stores traces as a Jaeger does, and reads them by every gRPC API of Jaeger's.   usage: client.py PROTOS QUERY STORAGE

Stubs are made of the .proto files on the spot; OpenTelemetry's messages are those of its own package.
"""
import pathlib
import sys
import tempfile
import time

import grpc
import grpc_tools
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.timestamp_pb2 import Timestamp
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from grpc_tools import protoc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, Span, Status

protos, query_address, storage_address = sys.argv[1:]
stubs = tempfile.TemporaryDirectory()
sources = sorted(str(path.relative_to(protos)) for path in pathlib.Path(protos, "jaeger").rglob("*.proto"))
# Google's own files come with the compiler.
own = pathlib.Path(grpc_tools.__file__).parent / "_proto"
code = protoc.main(["", f"-I{protos}", f"-I{own}", f"--python_out={stubs.name}", f"--grpc_python_out={stubs.name}", *sources])
assert code == 0, code
sys.path.insert(0, stubs.name)

from jaeger.api_v2 import query_pb2 as v2, query_pb2_grpc as v2_grpc  # noqa: E402
from jaeger.api_v3 import query_service_pb2 as v3, query_service_pb2_grpc as v3_grpc  # noqa: E402
from jaeger.storage.v2 import capabilities_pb2, capabilities_pb2_grpc  # noqa: E402
from jaeger.storage.v2 import dependency_storage_pb2 as calls, dependency_storage_pb2_grpc as calls_grpc  # noqa: E402
from jaeger.storage.v2 import trace_storage_pb2 as stored, trace_storage_pb2_grpc as stored_grpc  # noqa: E402

# With gRPC's own limits: 4 MiB a message.
query = grpc.insecure_channel(query_address)
storage = grpc.insecure_channel(storage_address)
NOW_NS = time.time_ns() - 60 * 10**9
SPANS, FAT = 600, 20_000
TRACE = bytes.fromhex("00112233445566778899aabbccddeeff")
NEVER = Timestamp(seconds=-62135596800)


def attribute(key, **value):
    return KeyValue(key=key, value=AnyValue(**value))


def at(ns):
    return Timestamp(seconds=ns // 10**9, nanos=ns % 10**9)


def span(number):
    start = NOW_NS + number * 1000
    return Span(
        trace_id=TRACE,
        span_id=(number + 1).to_bytes(8, "big"),
        parent_span_id=b"" if number == 0 else (1).to_bytes(8, "big"),
        name="GET /" if number == 0 else "step",
        kind=Span.SPAN_KIND_SERVER if number == 0 else Span.SPAN_KIND_CLIENT,
        start_time_unix_nano=start,
        end_time_unix_nano=start + 500,
        attributes=[attribute("body", string_value="x" * FAT), attribute("number", int_value=number)],
        status=Status(code=Status.STATUS_CODE_ERROR) if number == 7 else None,
    )


def resource(service, spans):
    group = ResourceSpans()
    group.resource.attributes.append(attribute("service.name", string_value=service))
    group.scope_spans.add().spans.extend(spans)
    return group


# 12 MB in four requests: what a Jaeger's exporter does.
writer = trace_service_pb2_grpc.TraceServiceStub(storage)
sent = [span(number) for number in range(SPANS)]
for start in range(0, SPANS, SPANS // 4):
    service = "front" if start == 0 else "back"
    request = trace_service_pb2.ExportTraceServiceRequest(
        resource_spans=[resource(service, sent[start : start + SPANS // 4])]
    )
    answer = writer.Export(request, wait_for_ready=True, timeout=30)
    assert answer.partial_success.rejected_spans == 0, answer


def spans_of(chunks):
    chunks = list(chunks)
    assert all(chunk.ByteSize() < 4 << 20 for chunk in chunks)
    found = [s for c in chunks for r in c.resource_spans for scope in r.scope_spans for s in scope.spans]
    assert {s.trace_id for s in found} == {TRACE}
    return {s.span_id: s for s in found}


def whole(found):
    assert len(found) == SPANS, len(found)
    for original in sent:
        assert found[original.span_id] == original, f"{original.name} {original.span_id.hex()} differs"


def question(**more):
    return stored.TraceQueryParameters(
        start_time_min=at(NOW_NS - 10**9), start_time_max=at(NOW_NS + 10**9), search_depth=20, **more
    )


reader = stored_grpc.TraceReaderStub(storage)
params = stored.GetTraceParams(trace_id=TRACE, start_time=NEVER, end_time=NEVER)
whole(spans_of(reader.GetTraces(stored.GetTracesRequest(query=[params]))))
by_number = [stored.KeyValue(key="number", value=stored.AnyValue(string_value="7"))]
search = question(service_name="front", attributes=by_number)
whole(spans_of(reader.FindTraces(stored.FindTracesRequest(query=search))))
[summary] = [s for m in reader.FindTraceSummaries(stored.FindTraceSummariesRequest(query=search)) for s in m.summaries]
assert (summary.root_service_name, summary.root_operation_name) == ("front", "GET /"), summary
assert (summary.span_count, summary.error_span_count, summary.orphan_span_count) == (SPANS, 1, 0), summary
assert [(s.name, s.span_count) for s in summary.services] == [("back", 450), ("front", 150)], summary
[found] = reader.FindTraceIDs(stored.FindTraceIDsRequest(query=search)).trace_ids
assert found.trace_id == TRACE
assert list(reader.GetServices(stored.GetServicesRequest()).services) == ["back", "front"]
operations = reader.GetOperations(stored.GetOperationsRequest(service="front")).operations
assert [(o.name, o.span_kind) for o in operations] == [("GET /", "server"), ("step", "client")], operations
request = calls.GetDependenciesRequest(start_time=at(NOW_NS - 10**9), end_time=at(NOW_NS + 10**9))
[link] = calls_grpc.DependencyReaderStub(storage).GetDependencies(request).dependencies
assert (link.parent, link.child, link.call_count) == ("front", "back", 450), link
can = capabilities_pb2_grpc.CapabilitiesStub(storage).GetCapabilities(capabilities_pb2.GetCapabilitiesRequest())
assert can.search.without_service_name

reader = v3_grpc.QueryServiceStub(query)
whole(spans_of(reader.GetTrace(v3.GetTraceRequest(trace_id=TRACE.hex(), raw_traces=True))))
search = v3.TraceQueryParameters(
    service_name="front", start_time_min=at(NOW_NS - 10**9), start_time_max=at(NOW_NS + 10**9), raw_traces=True
)
whole(spans_of(reader.FindTraces(v3.FindTracesRequest(query=search))))
try:
    list(reader.GetTrace(v3.GetTraceRequest(trace_id="beef")))
    raise AssertionError("found what is not there")
except grpc.RpcError as error:
    assert (error.code(), error.details()) == (grpc.StatusCode.NOT_FOUND, "trace not found"), error

reader = v2_grpc.QueryServiceStub(query)
chunks = list(reader.GetTrace(v2.GetTraceRequest(trace_id=TRACE)))
spans = {s.span_id: s for chunk in chunks for s in chunk.spans}
assert len(spans) == SPANS and all(chunk.spans for chunk in chunks)
seventh = spans[(8).to_bytes(8, "big")]
tags = {tag.key: tag for tag in seventh.tags}
assert (tags["number"].v_int64, tags["error"].v_bool, tags["span.kind"].v_str) == (7, True, "client"), tags
assert seventh.references[0].span_id == (1).to_bytes(8, "big")
assert seventh.process.service_name == "front"
assert seventh.start_time.ToNanoseconds() == sent[7].start_time_unix_nano

for channel, services in [
    (query, ["", "jaeger.api_v2.QueryService", "jaeger.api_v3.QueryService"]),
    (
        storage,
        [
            "",
            "jaeger.storage.v2.TraceReader",
            "jaeger.storage.v2.DependencyReader",
            "jaeger.storage.v2.TraceWriter",
            "opentelemetry.proto.collector.trace.v1.TraceService",
        ],
    ),
]:
    for service in services:
        health = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(service=service))
        assert health.status == health_pb2.HealthCheckResponse.SERVING, service
    # What grpcurl does: descriptors over the wire, down to the messages that they import.
    database = ProtoReflectionDescriptorDatabase(channel)
    listed = set(database.get_services())
    assert set(services) - {"", "jaeger.storage.v2.TraceWriter"} <= listed, listed
    pool = DescriptorPool(database)
    for service in listed:
        for method in pool.FindServiceByName(service).methods:
            assert method.input_type.full_name and method.output_type.full_name
trace = DescriptorPool(ProtoReflectionDescriptorDatabase(query)).FindServiceByName("jaeger.api_v3.QueryService")
assert trace.FindMethodByName("GetTrace").output_type.fields_by_name["resource_spans"].number == 1
print("all as expected")
