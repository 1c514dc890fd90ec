"""Takes webhooks over TLS as Standard Webhooks has them: checks each, answers 503 twice and 204 then, and tells on standard output.

Arguments: the certificate, the key, the secret. The signatures are checked here, and not by the code that made them."""

import base64, hashlib, hmac, http.server, json, ssl, sys, time

certificate, key, secret = sys.argv[1:]
attempts = {}


class Receiver(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        hook, sent_at = self.headers["webhook-id"], self.headers["webhook-timestamp"]
        signed = hmac.new(base64.b64decode(secret.removeprefix("whsec_")), f"{hook}.{sent_at}.".encode() + body, hashlib.sha256)
        expected = "v1," + base64.b64encode(signed.digest()).decode()
        signatures = self.headers["webhook-signature"].split(" ")
        known = attempts.setdefault(hook, 0)
        attempts[hook] += 1
        status = 401 if expected not in signatures or abs(time.time() - int(sent_at)) > 60 else 503 if known < 2 else 204
        told = {"id": hook, "path": self.path, "status": status, "signatures": len(signatures), "body": json.loads(body)}
        print(json.dumps(told), flush=True)
        self.send_response(status)
        self.end_headers()

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(certificate, key)
server.socket = context.wrap_socket(server.socket, server_side=True)
print(json.dumps({"port": server.server_address[1]}), flush=True)
server.serve_forever()
