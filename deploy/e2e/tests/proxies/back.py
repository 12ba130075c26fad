"""A database that speaks HTTP/1.1 and keeps connections: answers on a free port of loopback, which it prints."""
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Back(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        body = b"row\n" * 40
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Back)
print("PORT", server.server_port, flush=True)
server.serve_forever()
