"""A receiver of OTLP over gRPC, by gRPC's and OpenTelemetry's own Python packages: writes what it gets, one JSON a line.

usage: receiver.py PORT OUTPUT [KEY CERTIFICATE CLIENT_CA]   (port 0: any; the one it got is the first line that it prints)
"""
import json
import sys
from concurrent.futures import ThreadPoolExecutor

import grpc
from google.protobuf.json_format import MessageToDict
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2 as metrics
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2_grpc as metrics_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as traces
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc as traces_grpc

port, output, *files = sys.argv[1:]
out = open(output, "a", buffering=1)


def write(what, context, items):
    headers = dict(context.invocation_metadata())
    out.write(json.dumps({"what": what, "authorization": headers.get("authorization"), "items": items}) + "\n")


class Traces(traces_grpc.TraceServiceServicer):
    def Export(self, request, context):
        items = []
        for resource in request.resource_spans:
            names = {a.key: MessageToDict(a.value) for a in resource.resource.attributes}
            for scope in resource.scope_spans:
                for span in scope.spans:
                    attributes = {a.key: MessageToDict(a.value) for a in span.attributes}
                    items.append({"trace": span.trace_id.hex(), "span": span.span_id.hex(), "parent": span.parent_span_id.hex(),
                                  "name": span.name, "kind": span.kind, "resource": names, "attributes": attributes})
        write("spans", context, items)
        return traces.ExportTraceServiceResponse()


class Metrics(metrics_grpc.MetricsServiceServicer):
    def Export(self, request, context):
        items = [MessageToDict(m) for r in request.resource_metrics for s in r.scope_metrics for m in s.metrics]
        write("metrics", context, items)
        return metrics.ExportMetricsServiceResponse()


server = grpc.server(ThreadPoolExecutor(4), options=[("grpc.so_reuseport", 0)])
traces_grpc.add_TraceServiceServicer_to_server(Traces(), server)
metrics_grpc.add_MetricsServiceServicer_to_server(Metrics(), server)
address = f"127.0.0.1:{port}"
if files:
    key, certificate, ca = (open(name, "rb").read() for name in files)
    credentials = grpc.ssl_server_credentials([(key, certificate)], ca, require_client_auth=True)
    bound = server.add_secure_port(address, credentials)
else:
    bound = server.add_insecure_port(address)
server.start()
print(bound, flush=True)
server.wait_for_termination()
