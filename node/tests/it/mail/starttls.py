"""Sends one mail over STARTTLS, and tries to slip a command in before TLS begins.

starttls.py PORT RECIPIENT
"""

import smtplib
import socket
import ssl
import sys

port, recipient = int(sys.argv[1]), sys.argv[2]
trusting = ssl.create_default_context()
trusting.check_hostname = False
trusting.verify_mode = ssl.CERT_NONE

client = smtplib.SMTP("127.0.0.1", port, timeout=20)
client.ehlo("tls.example")
assert client.has_extn("starttls"), client.esmtp_features
client.starttls(context=trusting)
client.ehlo("tls.example")
assert not client.has_extn("starttls"), "it is offered once"
mail = (
    f"From: Tea <tea@tls.example>\r\nTo: <{recipient}>\r\nSubject: Over TLS\r\n"
    "Message-ID: <over-tls@tls.example>\r\n\r\nThe pump hums.\r\n"
)
client.sendmail("tea@tls.example", [recipient], mail)
client.quit()

# What came in clear behind STARTTLS ends the connection: inside TLS it would be taken for what came by TLS.
plain = socket.create_connection(("127.0.0.1", port), timeout=20)
lines = plain.makefile("rb")
assert lines.readline().startswith(b"220 ")
plain.sendall(b"EHLO sly.example\r\n")
while lines.readline()[3:4] == b"-":
    pass
plain.sendall(b"STARTTLS\r\nNOOP\r\nNOOP\r\n")
answer = lines.readline()
assert answer.startswith(b"421 "), answer
assert not lines.readline(), "it is closed"
print("ok")
