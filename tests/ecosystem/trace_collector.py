"""A program that collects spans by OTLP, over gRPC and over HTTP, and prints each as JSON.

The first line has the two ports. It runs until it is ended.
"""

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import grpc
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import (
    TraceServiceServicer,
    add_TraceServiceServicer_to_server,
)

printing = threading.Lock()


def take(request) -> None:
    spans = [
        span
        for resource in request.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]
    with printing:
        for span in spans:
            shown = {
                "name": span.name,
                "trace": span.trace_id.hex(),
                "span": span.span_id.hex(),
                "parent": span.parent_span_id.hex(),
                "is_consumer": span.kind == span.SPAN_KIND_CONSUMER,
            }
            print(json.dumps(shown), flush=True)


class Service(TraceServiceServicer):
    def Export(self, request, context):
        take(request)
        return ExportTraceServiceResponse()


class Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        take(ExportTraceServiceRequest.FromString(body))
        answer = ExportTraceServiceResponse().SerializeToString()
        self.send_response(200)
        self.send_header("Content-Type", "application/x-protobuf")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_) -> None:
        pass


if __name__ == "__main__":
    over_grpc = grpc.server(ThreadPoolExecutor(2))
    add_TraceServiceServicer_to_server(Service(), over_grpc)
    grpc_port = over_grpc.add_insecure_port("127.0.0.1:0")
    over_grpc.start()
    over_http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    print("ports", grpc_port, over_http.server_address[1], flush=True)
    over_http.serve_forever()
