"""Takes webhooks over TLS as Standard Webhooks has them: checks each, answers 503 twice and 204 then, and tells on standard output. Of
a changed priority it wants to hear nothing, now or ever: 410.

Arguments: the certificate, the key, the secret. The signatures are checked here, and not by the code that made them."""

import base64, hashlib, hmac, http.server, json, os, ssl, sys, threading, time

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
        said = json.loads(body)
        if said["type"] == "case.changed" and "priority" in said["data"]["changed"]:
            status = 410
        told = {"id": hook, "path": self.path, "status": status, "signatures": len(signatures), "body": said}
        print(json.dumps(told), flush=True)
        self.send_response(status)
        self.end_headers()
        if status == 410:
            self.wfile.write("Gone\u202e for good\n".encode())

    def log_message(self, *_):
        pass


# Whoever waits for what never comes is told by the end of the output.
watchdog = threading.Timer(120, os._exit, [1])
watchdog.daemon = True
watchdog.start()
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(certificate, key)
server.socket = context.wrap_socket(server.socket, server_side=True)
print(json.dumps({"port": server.server_address[1]}), flush=True)
server.serve_forever()
